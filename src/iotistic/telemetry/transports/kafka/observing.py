"""Figures of the connector, the processor and the sink."""

from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from iotistic.telemetry.model import Resolved
from iotistic.telemetry.sink.sink import Written
from iotistic.telemetry.transports.observing import Totals

_BATCH_BUCKETS = (1, 10, 100, 1_000, 5_000, 20_000, 100_000)
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)


@dataclass
class StageMetrics:
    """What every one of the three counts: records in, batches, and how long a batch takes to be durable."""

    registry: CollectorRegistry = REGISTRY

    def __post_init__(self) -> None:
        registry = self.registry
        self._records = Counter(
            "iotistic_kafka_records", "Records or messages made durable and acknowledged", registry=registry
        )
        self._batch = Histogram(
            "iotistic_kafka_batch_records", "Records a batch", buckets=_BATCH_BUCKETS, registry=registry
        )
        self._commit = Histogram(
            "iotistic_kafka_commit_seconds",
            "Time until a batch is durable: in Kafka, or in the database",
            buckets=_SECONDS,
            registry=registry,
        )
        self._dead = Counter(
            "iotistic_kafka_dead_letters", "Records that became dead letters", ["reason"], registry=registry
        )
        self.outages = Counter(
            "iotistic_kafka_outages",
            "Times that something this depends on went away",
            ["what"],
            registry=registry,
        )

    def count(self, *, records: int, seconds: float) -> None:
        """Count one batch that is durable."""
        self._records.inc(records)
        self._batch.observe(records)
        self._commit.observe(seconds)

    def count_dead(self, reason: str) -> None:
        """Count one dead letter."""
        self._dead.labels(reason).inc()


@dataclass
class SinkMetrics(StageMetrics):
    """What the sink stores, besides."""

    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        super().__post_init__()
        registry = self.registry
        self._rows = Counter("iotistic_kafka_rows", "Readings added to decoded_data", registry=registry)
        self._known = Counter(
            "iotistic_kafka_duplicate_rows", "Readings that were stored already", registry=registry
        )

    def stored(self, batch: Resolved, written: Written) -> None:
        """Count one committed batch."""
        self._rows.inc(written.rows)
        self._known.inc(len(batch.rows) - min(written.rows, len(batch.rows)))
        for letter in batch.dead_letters:
            self.count_dead(letter.reason)
        self.totals.messages += len(batch.rows) + len(batch.events)
        self.totals.rows += written.rows
        self.totals.events += written.events
        self.totals.dead_letters += written.dead_letters


@dataclass
class ConsumerMetrics:
    """What a member of a consumer group says besides."""

    registry: CollectorRegistry = REGISTRY

    def __post_init__(self) -> None:
        registry = self.registry
        self.lag = Gauge(
            "iotistic_kafka_lag_records",
            "Records of this member's partitions that it has not read",
            ["topic"],
            registry=registry,
        )
        self.partitions = Gauge(
            "iotistic_kafka_partitions", "Partitions that this member has", registry=registry
        )
        self.rebalances = Counter(
            "iotistic_kafka_rebalances", "Times that partitions were given or taken", registry=registry
        )
        self.pauses = Counter(
            "iotistic_kafka_pauses",
            "Times that reading stopped because writing was behind",
            registry=registry,
        )
