"""The delivery ledger: what senders sent, what is stored of it, and what became of the rest."""
