"""The processor: raw records in, readings and dead letters out.

Offsets of raw records are committed after their readings are delivered. A processor that dies between the two
leaves readings that the next one writes again; the sink finds their rows there already. That is cheaper than
transactions, and the sink would have to be idempotent all the same (docs/decisions/0011).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.model import DeadLetter
from iotistic.telemetry.transports.insisting import Dependency
from iotistic.telemetry.transports.kafka.consumer import Batch
from iotistic.telemetry.transports.kafka.letters import Letter, encode_letters, place_of
from iotistic.telemetry.transports.kafka.observing import StageMetrics
from iotistic.telemetry.transports.kafka.producer import BatchProducer, Outgoing
from iotistic.telemetry.transports.kafka.raw_records import RawBatch, decode_raw
from iotistic.telemetry.transports.kafka.readings import ReadingEncoder
from iotistic.telemetry.transports.preparing import Prepared, Preparer

RECORD_INVALID = "record.invalid"
_Stamp = tuple[str | None, int, int]
_NO_STAMP: _Stamp = (None, -1, -1)


@dataclass(frozen=True, slots=True)
class ProcessorTopics:
    """Where results go."""

    processed: str
    dead_letters: str


class Processor:
    """The stage between the raw and the processed topic."""

    def __init__(
        self,
        preparer: Preparer,
        producer: BatchProducer,
        ensure_topics: Callable[[], Awaitable[None]],
        metrics: StageMetrics,
        topics: ProcessorTopics,
    ) -> None:
        self._preparer, self._producer, self._ensure_topics = preparer, producer, ensure_topics
        self._metrics, self._topics = metrics, topics
        self._kafka = Dependency("kafka", metrics.outages.labels("kafka").inc)
        self._database = Dependency("database", metrics.outages.labels("database").inc)
        self._encoder: ReadingEncoder | None = None

    @property
    def kafka_away(self) -> IotisticError | None:
        """Why nothing can be sent at the moment."""
        return self._kafka.away

    @property
    def database_away(self) -> IotisticError | None:
        """Why nothing new can be looked up at the moment."""
        return self._database.away

    async def begin(self) -> None:
        """Make the topics and learn how many partitions readings have."""
        await self._kafka.insist(self._ensure_topics)
        count = await self._kafka.insist(lambda: self._producer.partitions(self._topics.processed))
        self._encoder = ReadingEncoder(self._topics.processed, partitions=count)

    async def prepare(self, batch: Batch) -> list[Outgoing]:
        """Return the records that a batch makes."""
        raw = decode_raw(list(map(Message.value, batch.records)), read_us=batch.read_us)
        letters = self._faults(batch, raw)
        outgoing: list[Outgoing] = []
        if len(raw.messages):
            parts = await self._database.insist(lambda: self._preparer.prepare(raw.messages))
            first = 0
            for part in parts:
                places = raw.places[first : first + len(part.messages)]
                outgoing.append(self._required().encode(part.resolved, part.messages))
                letters += self._letters(part, places, batch)
                first += len(part.messages)
        if letters:
            keys, values = encode_letters(letters, received_us=batch.read_us)
            outgoing.append(Outgoing(self._topics.dead_letters, keys, values))
        return [records for records in outgoing if records.values]

    async def settle(self, prepared: list[Outgoing]) -> None:
        """Deliver records."""
        for records in prepared:
            await self._kafka.insist(lambda: self._producer.send_all(records))  # noqa: B023  awaited at once

    def _required(self) -> ReadingEncoder:
        if self._encoder is None:
            raise RuntimeError("begin comes first")
        return self._encoder

    def _faults(self, batch: Batch, raw: RawBatch) -> list[Letter]:
        """Return letters of records that are no raw records at all."""
        letters: list[Letter] = []
        for place, why in raw.faults:
            record = batch.records[place]
            source = place_of(record.topic(), record.partition(), record.offset())
            letter = DeadLetter(b"", record.value() or b"", RECORD_INVALID, why[:1000], source)
            letters.append(Letter(letter))
            self._metrics.count_dead(RECORD_INVALID)
        return letters

    def _letters(self, part: Prepared, places: Sequence[int], batch: Batch) -> list[Letter]:
        """Return letters of messages; one that gave no reading takes its message's stamp along."""
        resolved = part.resolved
        if resolved.origin is None or not resolved.dead_letters:
            return []
        read = {*resolved.origin.rows.tolist(), *resolved.origin.events}
        stamps = _stamps(part)
        letters: list[Letter] = []
        for letter, message in zip(resolved.dead_letters, resolved.origin.dead_letters, strict=True):
            record = batch.records[places[message]]
            source = place_of(record.topic(), record.partition(), record.offset())
            sender, epoch, sequence = _NO_STAMP if message in read else stamps.get(message, _NO_STAMP)
            letters.append(Letter(letter._replace(source=source), sender, epoch, sequence))
            self._metrics.count_dead(letter.reason)
        return letters


def _stamps(part: Prepared) -> dict[int, _Stamp]:
    deliveries = part.resolved.deliveries
    if deliveries is None or deliveries.message is None:
        return {}
    columns = zip(deliveries.source, deliveries.epoch.tolist(), deliveries.sequence.tolist(), strict=True)
    return dict(zip(deliveries.message.tolist(), columns, strict=True))
