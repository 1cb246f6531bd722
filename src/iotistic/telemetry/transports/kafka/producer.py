"""A producer that confirms batches: all of a batch is durable, or the batch is to be sent again.

Every record is acknowledged by all replicas in sync before it counts (acks=all), and librdkafka's own
retries neither repeat nor reorder (idempotence). What is sent again by us, after a timeout or another
process's death, may be in the topic twice; storing the same reading twice changes nothing.

A callback for each record would cost more than the record: librdkafka counts what was delivered, and only
failures reach Python.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from iotistic.telemetry.transports.kafka.errors import KafkaUnavailable, kafka_error
from iotistic.telemetry.transports.kafka.logger import KAFKA_LOGGER
from iotistic.telemetry.transports.kafka.settings import Config

log = structlog.get_logger()

_FLUSH_SLICE_S = 0.5
_ASK_WITHIN_S = 1.5
_REFUSED = {KafkaError.MSG_SIZE_TOO_LARGE}
ANY_PARTITION = -1


class Outgoing(NamedTuple):
    """Records for one topic, as columns of one length. Without `partitions` the key chooses."""

    topic: str
    keys: Sequence[bytes]
    values: Sequence[bytes]
    partitions: Sequence[int] | None = None

    def slice(self, start: int, stop: int) -> "Outgoing":
        """Return some of the records."""
        partitions = None if self.partitions is None else self.partitions[start:stop]
        return Outgoing(self.topic, self.keys[start:stop], self.values[start:stop], partitions)


class BatchProducer:
    """Sends batches. One caller at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._failures: list[KafkaError] = []
        self._producer: Producer | None = None

    async def send(self, batch: Outgoing) -> list[int]:
        """Return once the batch is durable; the result names records that Kafka refuses for their size.

        Raises KafkaUnavailable or KafkaDenied when that cannot be had now: then none of the batch may be
        taken for durable, though some of it may be.
        """
        refused = self._enqueue(batch)
        failures = await self._flushed()
        if not failures:
            return refused
        if any(failure.code() not in _REFUSED for failure in failures):
            raise kafka_error(next(failure for failure in failures if failure.code() not in _REFUSED))
        count = len(batch.values)
        if count == 1:
            return [0]
        # A broker that takes smaller records than we do refuses all that came to it in one request.
        middle = count // 2
        first = await self.send(batch.slice(0, middle))
        second = await self.send(batch.slice(middle, count))
        return first + [middle + index for index in second]

    async def send_all(self, batch: Outgoing) -> None:
        """Return once the batch is durable; for records that have no other place to go to.

        Raises KafkaUnavailable or KafkaDenied as `send` does, and KafkaUnavailable when a record is too large
        for its topic: it waits for a larger limit, since to go on would lose it.
        """
        if refused := await self.send(batch):
            raise KafkaUnavailable(
                f"{len(refused)} record(s) are too large for the topic {batch.topic}",
                hint="raise max.message.bytes of the topic and message.max.bytes of the brokers",
            )

    async def check(self) -> None:
        """Ask the brokers for a sign of life. Raises KafkaUnavailable."""
        producer = self._producer or self._connect()
        try:
            await asyncio.to_thread(producer.list_topics, timeout=_ASK_WITHIN_S)
        except KafkaException as exc:
            raise kafka_error(exc) from exc

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KafkaUnavailable."""
        producer = self._producer or self._connect()
        try:
            found = await asyncio.to_thread(producer.list_topics, topic, timeout=_ASK_WITHIN_S)
        except KafkaException as exc:
            raise kafka_error(exc) from exc
        known = found.topics.get(topic)
        if known is None or not known.partitions:
            raise KafkaUnavailable(f"the topic {topic} has no partitions yet")
        return len(known.partitions)

    def close(self) -> None:
        """Forget what has not been delivered, and let go of the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.poll(0)

    def _connect(self) -> Producer:
        config = {
            **self._config,
            "delivery.report.only.error": True,
            "on_delivery": self._hear_failure,
            "error_cb": self._hear_error,
        }
        self._producer = Producer(config, logger=KAFKA_LOGGER)
        return self._producer

    def _hear_failure(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def _hear_error(self, error: KafkaError) -> None:
        if error.fatal():
            log.warning("kafka.producer_failed", reason=error.str())

    def _enqueue(self, batch: Outgoing) -> list[int]:
        """Hand the records to librdkafka; return those it finds too large."""
        producer = self._producer or self._connect()
        self._failures.clear()
        produce, topic = producer.produce, batch.topic
        refused: list[int] = []
        targets = batch.partitions or [ANY_PARTITION] * len(batch.values)
        for index, (key, value, partition) in enumerate(zip(batch.keys, batch.values, targets, strict=True)):
            try:
                produce(topic, value, key, partition)
            except BufferError as exc:
                self._start_over()
                raise KafkaUnavailable("the batch is larger than the producer's memory") from exc
            except KafkaException as exc:
                self._refuse(exc, index, refused)
        return refused

    def _refuse(self, exc: KafkaException, index: int, refused: list[int]) -> None:
        error = exc.args[0]
        if isinstance(error, str) or error.code() not in _REFUSED:
            self._start_over()
            raise kafka_error(exc) from exc
        refused.append(index)

    async def _flushed(self) -> list[KafkaError]:
        """Wait until each record was delivered or has failed; return the failures."""
        producer = self._producer or self._connect()
        while await asyncio.to_thread(producer.flush, _FLUSH_SLICE_S):
            pass
        failures = list(self._failures)
        if any(failure.fatal() or failure.code() == KafkaError._FATAL for failure in failures):  # noqa: SLF001
            self._start_over()
        return failures

    def _start_over(self) -> None:
        """Let the next batch have a producer of its own: this one is not to be trusted any more."""
        self.close()
