"""Figures of the delivery ledger, in the maintenance process."""

from prometheus_client import Counter, Gauge

GAPS = Gauge("iotistic_ledger_epochs_with_gaps", "Epochs with messages missing for longer than the watermark")
ASKED = Counter("iotistic_ledger_asked_messages", "Messages that senders were asked to send again")
ANSWERS = Counter("iotistic_ledger_answers", "Answers of senders to such requests", ["outcome"])
CONFIRMED = Counter("iotistic_ledger_confirmations", "Times that senders were told what is stored")
RECEIPTS = Counter("iotistic_ledger_receipts", "Receipts signed")
FAILURES = Counter("iotistic_ledger_failures", "Rounds of the ledger that failed", ["code"])
