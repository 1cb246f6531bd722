"""How far a group is with its topics, for whoever asks where a message stands.

Any member tells it for all partitions, through a client of its own that joins nothing: what a dead member left
behind is told by the others, and reading is not disturbed. While Kafka or the database is away nothing is told;
then what was told last gets old, which says the same.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import asyncpg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.ledger.looks import Look, Stages, Watch
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.transports.kafka.settings import Config

_EVERY_S = 2.0
_SHARE = 8
"""Asking takes at most this part of the time, however many partitions there are."""
_WITHIN_S = 1.5


class GroupProgress:
    """Looks at the ends of topics and at what a group has made durable of them."""

    def __init__(self, client: Config, *, group: str, topics: Sequence[str], stage: Stage) -> None:
        # What it would log waits for a poll, and it never polls; the group's member logs the same.
        self._config = client | {"group.id": group, "enable.auto.commit": False, "log_level": 0}
        self._topics, self._stage = topics, stage
        self._watches: dict[tuple[str, int], Watch] = {}

    async def report(self, stages: Stages) -> None:
        """Look and note until cancelled."""
        # Never closed in so many words: a look that is under way has it too, and it has joined nothing.
        consumer = Consumer(self._config)
        while True:
            started = time.monotonic()
            with suppress(KafkaException, IotisticError, asyncpg.PostgresError, TimeoutError):
                await stages.note(await asyncio.to_thread(self._look, consumer))
            await asyncio.sleep(max(_EVERY_S, _SHARE * (time.monotonic() - started)))

    def _look(self, consumer: Consumer) -> list[Look]:
        """Return what is to be noted. Raises KafkaException when there is no answer in time."""
        partitions = list(self._partitions(consumer))
        # Ends before offsets: what is behind an end by then came before the look.
        at = time.time()
        ends = [consumer.get_watermark_offsets(one, timeout=_WITHIN_S) for one in partitions]
        committed = consumer.committed(partitions, timeout=_WITHIN_S)
        return [
            self._watch(one).look(at, end=high, done=offset.offset if offset.offset >= 0 else low)
            for one, (low, high), offset in zip(partitions, ends, committed, strict=True)
        ]

    def _partitions(self, consumer: Consumer) -> Iterable[TopicPartition]:
        for topic in self._topics:
            known = consumer.list_topics(topic, timeout=_WITHIN_S).topics[topic]
            yield from (TopicPartition(topic, number) for number in sorted(known.partitions))

    def _watch(self, partition: TopicPartition) -> Watch:
        key = partition.topic, partition.partition
        if key not in self._watches:
            self._watches[key] = Watch(self._stage, f"{partition.topic}/{partition.partition}")
        return self._watches[key]
