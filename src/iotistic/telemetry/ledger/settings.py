"""Settings of the delivery ledger."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class LedgerSettings(Settings):
    """How gaps are judged, senders told, and how long the ledger is kept."""

    ledger_watermark_s: float = Field(default=30.0, gt=0, le=86_400)
    """Seconds that a message may be missing before it counts as a gap and its sender is asked for it."""
    ledger_fold_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds between two looks at what sinks noted; also how old the answers about gaps may be."""
    ledger_confirm_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds after which a sender whose messages were stored is told so, and may forget them."""
    ledger_days: int = Field(default=90, ge=1, le=3660)
    """Days that epochs nobody continues and receipts are kept."""
