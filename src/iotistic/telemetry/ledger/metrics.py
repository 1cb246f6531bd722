"""Figures of the delivery ledger, in the maintenance process."""

from prometheus_client import Counter, Gauge, Histogram

GAPS = Gauge("iotistic_ledger_epochs_with_gaps", "Epochs with messages missing for longer than the watermark")
ASKED = Counter("iotistic_ledger_asked_messages", "Messages that senders were asked to send again")
ANSWERS = Counter("iotistic_ledger_answers", "Answers of senders to such requests", ["outcome"])
CONFIRMED = Counter("iotistic_ledger_confirmations", "Times that senders were told what is stored")
RECEIPTS = Counter("iotistic_ledger_receipts", "Receipts signed")
SENT = Counter("iotistic_ledger_receipts_sent", "Receipts that the broker took for their senders")
REFUSED = Counter("iotistic_ledger_receipts_refused", "Receipts that the broker did not let through")
HEALED = Histogram(
    "iotistic_ledger_heal_seconds",
    "Time that messages were missing before they came after all, one for each run of them",
    buckets=(1, 5, 10, 30, 60, 120, 300, 900, 3600, 6 * 3600, 24 * 3600),
)
FAILURES = Counter("iotistic_ledger_failures", "Rounds of the ledger that failed", ["code"])
