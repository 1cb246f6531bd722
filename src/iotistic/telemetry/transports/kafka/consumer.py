"""A consumer that reads batches, and keeps what is durable apart from what was only read.

    librdkafka's queue --consume--> [one batch waiting] --next--> whoever makes it durable --done--> offsets

Invariants:
- The offset of a record is stored for commit only after `done`, so what was not durable when a process
  died, or lost its partitions, is read again by whoever has them next.
- While a batch waits, partitions are paused and Kafka goes on being asked: a member that is silent would
  lose its partitions, and then do the work of others twice.
- Before partitions are given up, what was read of them is made durable, for as long as `settle_within_s`
  allows; the others go on undisturbed (cooperative rebalancing).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.transports.kafka.errors import KafkaUnavailable, kafka_error
from iotistic.telemetry.transports.kafka.logger import KAFKA_LOGGER
from iotistic.telemetry.transports.kafka.observing import ConsumerMetrics
from iotistic.telemetry.transports.kafka.settings import Config

log = structlog.get_logger()

_SLICE_S = 0.2  # how long a stop waits for a consumer at most
_LAG_EVERY_S = 2.0
_ASK_WITHIN_S = 1.5
_SPEAK_EVERY_S = 1.0
_COMMIT_EVERY_MS = 500

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a group reads."""

    group: str
    topics: Sequence[str]
    batch_size: int
    interval_s: float
    session_s: float = 10.0
    settle_within_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in order of their offsets within each partition; `ends` is behind the last of each."""

    records: list[Message]
    ends: dict[Partition, int]
    read_us: int


def group_config(client: Config, options: ReadOptions) -> Config:
    """Return the configuration of a member of a group."""
    session_ms = int(options.session_s * 1000)
    return client | {
        "group.id": options.group,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,  # we store an offset when its record is durable
        "enable.auto.commit": True,  # and librdkafka commits what is stored
        "auto.commit.interval.ms": _COMMIT_EVERY_MS,
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // 4,
        "queued.max.messages.kbytes": 1 << 14,
        "queued.min.messages": 50_000,
        # A busy stream in few large answers: each costs Kafka and us as much as hundreds of records.
        "fetch.min.bytes": 1 << 16,
        "fetch.wait.max.ms": 50,
        "check.crcs": True,
    }


class BatchConsumer:
    """One member of a group. `run` reads; `next` and `done` are for one caller."""

    def __init__(self, client: Config, options: ReadOptions, metrics: ConsumerMetrics) -> None:
        self._options, self._metrics = options, metrics
        self._config = group_config(client, options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-consumer")
        self._consumer: Consumer | None = None
        self._waiting: asyncio.Queue[Batch] = asyncio.Queue(1)
        self._unsettled: dict[Partition, int] = {}
        self._settled = threading.Condition()
        self._paused = False
        self._lag_at = 0.0
        self._reported: KafkaError | None = None
        self.joined = False
        self.lag = 0
        """Records of this member's partitions that it has not read, as of two seconds ago."""

    async def run(self) -> None:
        """Read until cancelled; what was read by then can still be made durable before `close`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._subscribe)
        while True:
            batch = await loop.run_in_executor(self._thread, self._read)
            if batch is not None:
                await self._hand_over(batch)

    async def close(self) -> None:
        """Commit the offsets of what is durable and leave the group."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def next(self) -> Batch:
        """Return the next batch."""
        return await self._waiting.get()

    def done(self, batch: Batch) -> None:
        """Say that everything of a batch is durable."""
        offsets = [TopicPartition(topic, number, end) for (topic, number), end in batch.ends.items()]
        for offset in offsets:
            # A partition that was given up meanwhile is another's: it reads those records once more.
            with contextlib.suppress(KafkaException, RuntimeError):
                if self._consumer is not None:
                    self._consumer.store_offsets(offsets=[offset])
        with self._settled:
            for partition, end in batch.ends.items():
                if self._unsettled.get(partition, 0) <= end:
                    self._unsettled.pop(partition, None)
            self._settled.notify_all()

    @property
    def idle(self) -> bool:
        """Whether everything that was read is durable."""
        return not self._unsettled

    async def check(self) -> None:
        """Ask the brokers for a sign of life, and whether the group has taken us in. Raises Unavailable."""
        consumer = self._consumer
        if consumer is None:
            raise KafkaUnavailable("not connected yet")
        try:
            await asyncio.to_thread(consumer.list_topics, self._options.topics[0], timeout=_ASK_WITHIN_S)
        except (KafkaException, RuntimeError) as exc:
            raise _as_ours(exc) from exc
        if not self.joined:
            raise KafkaUnavailable(f"the group {self._options.group} has not taken this member in yet")

    async def _hand_over(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        putting = asyncio.ensure_future(self._waiting.put(batch))
        try:
            while not (await asyncio.wait((putting,), timeout=_SPEAK_EVERY_S))[0]:
                await loop.run_in_executor(self._thread, self._hold)
        finally:
            putting.cancel()
        await loop.run_in_executor(self._thread, self._release)

    # What follows runs in the consumer's own thread.

    def _subscribe(self) -> None:
        self._consumer = Consumer({**self._config, "error_cb": self._hear_error}, logger=KAFKA_LOGGER)
        self._consumer.subscribe(
            list(self._options.topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def _read(self) -> Batch | None:
        """Return a batch once it is full or has gathered for long enough; None while nothing comes."""
        consumer, wanted = self._required(), self._options.batch_size
        found: list[Message] = []
        deadline = time.monotonic() + self._options.interval_s
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or len(found) >= wanted:
                break
            found += self._consume(consumer, wanted - len(found), min(left_s, _SLICE_S))
            if not found:
                break
        self._note_lag(consumer)
        return self._batch(found) if found else None

    def _consume(self, consumer: Consumer, count: int, timeout_s: float) -> list[Message]:
        try:
            records = consumer.consume(count, timeout_s)
        except KafkaException as exc:
            log.warning("kafka.read_failed", reason=str(exc))
            time.sleep(_SLICE_S)
            return []
        # Methods are mapped, not called one by one: there are hundreds of thousands of records a second.
        errors = list(map(Message.error, records))
        if errors.count(None) == len(errors):
            return records
        for error in errors:
            if error is not None:
                self._hear_error(error)
        return [record for record, error in zip(records, errors, strict=True) if error is None]

    def _batch(self, records: list[Message]) -> Batch:
        # Records of one partition come in order, so the last one seen is the last one.
        partitions = zip(map(Message.topic, records), map(Message.partition, records), strict=True)
        last = dict(zip(partitions, map(Message.offset, records), strict=True))
        ends = {partition: offset + 1 for partition, offset in last.items()}
        with self._settled:
            self._unsettled.update(ends)
        return Batch(records, ends, time.time_ns() // 1000)

    def _hold(self) -> None:
        """Take nothing more, and tell the group that we are alive."""
        consumer = self._required()
        if not self._paused:
            self._paused = True
            consumer.pause(consumer.assignment())
            self._metrics.pauses.inc()
        # Records that librdkafka had handed out before the pause belong to the next batch; none is expected.
        for record in self._consume(consumer, 1, 0):
            self._rewind(consumer, record)

    def _rewind(self, consumer: Consumer, record: Message) -> None:
        """Have a record delivered again later."""
        consumer.seek(TopicPartition(record.topic(), record.partition(), record.offset()))

    def _release(self) -> None:
        if self._paused:
            self._paused = False
            consumer = self._required()
            consumer.resume(consumer.assignment())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.joined = True
        self._metrics.rebalances.inc()
        consumer.incremental_assign(partitions)
        # librdkafka keeps a partition paused through its loss, and we may have gone on meanwhile.
        if self._paused:
            consumer.pause(partitions)
        else:
            consumer.resume(partitions)
        self._metrics.partitions.inc(len(partitions))
        log.info("group.assigned", group=self._options.group, partitions=len(partitions))

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.inc()
        self._metrics.partitions.dec(len(partitions))
        leaving = {(partition.topic, partition.partition) for partition in partitions}
        with self._settled:
            done = self._settled.wait_for(
                lambda: not (leaving & self._unsettled.keys()), self._options.settle_within_s
            )
            for partition in leaving:
                self._unsettled.pop(partition, None)
        log.info("group.revoked", group=self._options.group, partitions=len(partitions), settled=done)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.inc()
        self._metrics.partitions.dec(len(partitions))
        with self._settled:
            for partition in partitions:
                self._unsettled.pop((partition.topic, partition.partition), None)
        log.warning("group.lost", group=self._options.group, partitions=len(partitions))

    def _note_lag(self, consumer: Consumer) -> None:
        """Measure how far behind the group's part of the topics this member is, in records."""
        if time.monotonic() - self._lag_at < _LAG_EVERY_S:
            return
        self._lag_at = time.monotonic()
        lag = dict.fromkeys(self._options.topics, 0)
        with contextlib.suppress(KafkaException):
            for position in consumer.position(consumer.assignment()):
                _, high = consumer.get_watermark_offsets(position, cached=True)
                if position.offset >= 0 and high >= 0:
                    lag[position.topic] += max(0, high - position.offset)
        self.lag = sum(lag.values())
        for topic, records in lag.items():
            self._metrics.lag.labels(topic).set(records)

    def _hear_error(self, error: KafkaError) -> None:
        if self._reported is None or self._reported.code() != error.code():
            log.warning("kafka.complained", reason=error.str())
        self._reported = error

    def _required(self) -> Consumer:
        if self._consumer is None:
            raise KafkaUnavailable("not connected")
        return self._consumer

    def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _as_ours(exc: Exception) -> IotisticError:
    return kafka_error(exc) if isinstance(exc, KafkaException) else KafkaUnavailable(str(exc))
