"""Figures of an ingest worker, and what it tells those who watch."""

from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from iotistic.telemetry.model import Resolved
from iotistic.telemetry.sink.sink import Written

_BATCH_BUCKETS = (1, 10, 100, 1_000, 5_000, 20_000, 100_000)
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


@dataclass(slots=True)
class Totals:
    """Running totals since the worker started."""

    messages: int = 0
    rows: int = 0
    events: int = 0
    dead_letters: int = 0


@dataclass
class IngestMetrics:
    """Prometheus figures of one worker."""

    registry: CollectorRegistry = REGISTRY
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        registry = self.registry
        self._messages = Counter(
            "iotistic_ingest_messages", "Messages stored and acknowledged", registry=registry
        )
        self._rows = Counter("iotistic_ingest_rows", "Readings added to decoded_data", registry=registry)
        self._known = Counter(
            "iotistic_ingest_duplicate_rows", "Readings that were stored already", registry=registry
        )
        self._events = Counter("iotistic_ingest_events", "Text readings stored", registry=registry)
        self._dead = Counter(
            "iotistic_ingest_dead_letters", "Messages kept as dead letters", ["reason"], registry=registry
        )
        self._stamps = Counter(
            "iotistic_ingest_stamps",
            "Messages with a delivery stamp",
            ["outcome"],
            registry=registry,
        )
        self._batch = Histogram(
            "iotistic_ingest_batch_messages",
            "Messages a transaction",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._commit = Histogram(
            "iotistic_ingest_commit_seconds",
            "Time a batch takes to commit",
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting_bytes = Gauge(
            "iotistic_ingest_waiting_bytes", "Bytes received and not stored", registry=registry
        )
        self.connected = Gauge(
            "iotistic_ingest_connected", "1 while the broker is connected", registry=registry
        )
        self.outages = Counter(
            "iotistic_ingest_outages",
            "Times that something this depends on went away",
            ["what"],
            registry=registry,
        )

    def count(self, *, messages: int, batch: Resolved, written: Written, seconds: float) -> None:
        """Count one committed batch."""
        self._messages.inc(messages)
        self._rows.inc(written.rows)
        self._known.inc(len(batch.rows) - min(written.rows, len(batch.rows)))
        self._events.inc(written.events)
        for letter in batch.dead_letters:
            self._dead.labels(letter.reason).inc()
        if batch.deliveries is not None:
            self._stamps.labels("noted").inc(len(batch.deliveries))
            self._stamps.labels("refused").inc(batch.deliveries.refused)
        self._batch.observe(messages)
        self._commit.observe(seconds)
        self.totals.messages += messages
        self.totals.rows += written.rows
        self.totals.events += written.events
        self.totals.dead_letters += written.dead_letters
