"""HTTP shapes of the ledger."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.query.parameters import Cursor, Instant, Parameters, Text

_SOURCE = "mac:, uuid: or key:, and what the sender's topics name it."


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Selection(Parameters):
    device: Text | None = Field(
        None,
        description="Only this device (id, MAC, uuid, external key or name), or a sender as `source` shows it.",
    )
    start: Instant | None = Field(None, alias="from", description="Active at or after this instant.")
    end: Instant | None = Field(None, alias="to", description="Active before this instant.")
    cursor: Cursor = None
    limit: int = Field(100, ge=1, le=1_000)


class LedgerQuery(_Selection):
    """Which epochs."""

    missing: bool = Field(False, description="True means only epochs with something missing.")


class ReceiptsQuery(_Selection):
    """Which receipts: those whose hour ended after `from` and not after `to`."""


class HealingTimes(BaseModel):
    """Seconds for which healed messages had been missing, from the first look that missed them."""

    model_config = _example(p50_s=31.2, p99_s=44.0, max_s=44.0)

    p50_s: float = Field(description="Half of the messages; less than a fifth too large.")
    p99_s: float = Field(description="99 of 100 messages; less than a fifth too large.")
    max_s: float


class LedgerTotals(BaseModel):
    """Sums over the whole selection, not over the page alone."""

    model_config = _example(
        senders=4, epochs=5, sent=48210, stored=48207, missing=3, duplicates=12, healed=7,
        healing={"p50_s": 31.2, "p99_s": 44.0, "max_s": 44.0},
    )  # fmt: skip

    senders: int
    epochs: int
    sent: int = Field(description="Sum of the largest sequence numbers seen.")
    stored: int = Field(description="Distinct messages stored, as readings or as dead letters.")
    missing: int
    duplicates: int = Field(description="Messages that came again; they changed nothing.")
    healed: int = Field(description="Messages that were noted as missing and came after all.")
    healing: HealingTimes | None = Field(description="Null when nothing healed.")


class LedgerGap(BaseModel):
    """Consecutive messages that are missing, and where they stand as far as it can be known."""

    model_config = _example(
        first=118, last=120, count=3, stage="unanswered", since="2026-01-31T12:59:00Z",
        note="lost between device and broker, or not sent by then; the device has not said whether it has them",
    )  # fmt: skip

    first: int
    last: int
    count: int
    stage: Stage
    since: datetime | None = Field(description="When they were missing first; null when nobody looked yet.")
    note: str = Field(description="What is known, and what is not, in words.")


class LedgerEntry(BaseModel):
    """One epoch of one sender."""

    model_config = _example(
        source="mac:aabbccddee01", device_id=7, device_name="F2 aabbccddee01", epoch=1769860800000,
        sent=12000, stored=11997, missing=3, duplicates=4, healed=2, untold=0, asked=1,
        healing={"p50_s": 31.2, "p99_s": 31.2, "max_s": 31.2},
        gaps=[{"first": 118, "last": 120, "count": 3, "stage": "on_the_way", "since": None, "note": "..."}],
        has_more_gaps=False, first_at="2026-01-31T12:00:00Z", last_at="2026-01-31T13:00:00Z",
    )  # fmt: skip

    source: str = Field(description=_SOURCE)
    device_id: int | None = Field(description="Null when the sender is not registered.")
    device_name: str | None
    epoch: int
    sent: int = Field(description="Largest sequence number seen; the sender may have sent more since.")
    stored: int
    missing: int
    duplicates: int
    healed: int
    healing: HealingTimes | None
    untold: int = Field(description="Messages below the floor of an epoch with too many gaps.")
    asked: int = Field(description="Requests to send again since the last answer.")
    gaps: list[LedgerGap]
    has_more_gaps: bool = Field(description="True when only the first gaps are listed.")
    first_at: datetime
    last_at: datetime


class DroppedEpochs(BaseModel):
    """Epochs that the ledger does not keep any more."""

    model_config = _example(
        source="mac:aabbccddee01", reason="too_many_epochs", epochs=3, sent=900, stored=899,
        last_at="2026-01-31T13:00:00Z",
    )  # fmt: skip

    source: str = Field(description=_SOURCE)
    reason: str = Field(description="too_many_epochs (over 32 of one sender), or too_old.")
    epochs: int
    sent: int
    stored: int
    last_at: datetime


class LedgerStage(BaseModel):
    """How far a stage before the database is, over all its parts."""

    model_config = _example(
        stage="raw_topic", parts=6, waiting=120, looked_at="2026-01-31T13:00:00Z",
        clear_until="2026-01-31T12:59:58Z",
    )  # fmt: skip

    stage: Stage = Field(description="broker, raw_topic (before the processor) or processed_topic.")
    parts: int = Field(description="Partitions; 1 for a broker.")
    waiting: int | None = Field(description="Messages or records in it, of all senders.")
    looked_at: datetime = Field(
        description="When somebody looked at it last; of the part that waits longest."
    )
    clear_until: datetime | None = Field(
        description="What came to it before this has left it. Null when nobody knows."
    )


class LedgerProcess(BaseModel):
    """How an ingest worker or a sink is doing."""

    model_config = _example(
        process="sink-0", lane="live", waiting=120, away=None, reported_at="2026-01-31T13:00:00Z"
    )

    process: str
    lane: str = Field(description="live, or backlog for what devices kept through an outage.")
    waiting: int = Field(description="Messages or records in front of it.")
    away: str | None = Field(description="What it needs and cannot reach.")
    reported_at: datetime


class LedgerPage(BaseModel):
    """Epochs by sender and epoch."""

    totals: LedgerTotals
    stages: list[LedgerStage] = Field(description="Empty when no stage tells how far it is.")
    processes: list[LedgerProcess] = Field(description="Ingest workers and sinks that run.")
    waiting_batches: int = Field(description="Stored batches that are not in these figures yet.")
    items: list[LedgerEntry]
    dropped: list[DroppedEpochs]
    next_cursor: str | None = Field(description="Null on the last page.")


class ReceiptPage(BaseModel):
    """Signed receipts, oldest first, each exactly as it was signed; check them with `iotistic ledger verify`."""

    items: list[dict[str, Any]]
    next_cursor: str | None = Field(description="Null on the last page.")
