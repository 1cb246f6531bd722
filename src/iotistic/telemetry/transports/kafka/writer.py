"""The sink process' stage: readings and dead letters in, the database out.

The same `Sink` as the direct transport's writes each batch in one transaction; offsets are committed after it.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from confluent_kafka import Message

from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.model import DeadLetter, Places, Resolved, concat_deliveries
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.insisting import Dependency
from iotistic.telemetry.transports.kafka.consumer import Batch
from iotistic.telemetry.transports.kafka.letters import decode_letters, place_of
from iotistic.telemetry.transports.kafka.observing import SinkMetrics
from iotistic.telemetry.transports.kafka.processor import RECORD_INVALID
from iotistic.telemetry.transports.kafka.stored_readings import decode_readings


class Watchers(Protocol):
    """Those who are told of a batch once it is stored."""

    def committed(self, batch: Resolved) -> None:
        """Hear of a stored batch; must return at once."""
        ...


class Writer:
    """The stage between the processed topic and the database."""

    def __init__(
        self,
        sink: Sink,
        metrics: SinkMetrics,
        watchers: Watchers,
        ensure_topics: Callable[[], Awaitable[None]],
        *,
        dead_letter_topic: str,
    ) -> None:
        self._sink, self._metrics, self._watchers = sink, metrics, watchers
        self._ensure_topics, self._dead_letter_topic = ensure_topics, dead_letter_topic
        self._kafka = Dependency("kafka", metrics.outages.labels("kafka").inc)
        self._database = Dependency("database", metrics.outages.labels("database").inc)

    @property
    def database_away(self) -> IotisticError | None:
        """Why nothing can be stored at the moment."""
        return self._database.away

    async def begin(self) -> None:
        """Make the topics; a group that waits for one to appear is slow to see it."""
        await self._kafka.insist(self._ensure_topics)

    async def prepare(self, batch: Batch) -> Resolved:
        """Return what a batch stores."""
        readings, dead = batch.records, list[Message]()
        if any(topic == self._dead_letter_topic for topic, _ in batch.ends):
            readings = [record for record in batch.records if record.topic() != self._dead_letter_topic]
            dead = [record for record in batch.records if record.topic() == self._dead_letter_topic]
        read = decode_readings(list(map(Message.value, readings)), read_us=batch.read_us)
        letters, delivered = decode_letters(
            [
                (record.value(), place_of(record.topic(), record.partition(), record.offset()))
                for record in dead
            ]
        )
        faults = [_fault(readings[place], why) for place, why in read.faults]
        return Resolved(
            read.rows,
            read.events,
            letters + faults,
            read.received_us,
            concat_deliveries((read.deliveries, delivered)),
            places=Places(lambda index: _place(readings[index]), read.row_records, read.event_records),
        )

    async def settle(self, prepared: Resolved) -> None:
        """Store it."""
        written = await self._database.insist(lambda: self._sink.write(prepared))
        self._metrics.stored(prepared, written)
        self._watchers.committed(prepared)


def _place(record: Message) -> str:
    return place_of(record.topic(), record.partition(), record.offset())


def _fault(record: Message, why: str) -> DeadLetter:
    return DeadLetter(b"", record.value() or b"", RECORD_INVALID, why[:1000], _place(record))
