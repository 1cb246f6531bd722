"""The connector: MQTT in, the raw topic out, acknowledging after Kafka has.

    broker --> receive --> [waiting] --> encode --> [one batch] --> send --> acknowledge

Bounded like the direct transport, and as patient: while Kafka is away nothing is acknowledged, the batch in
hand is sent again until it is delivered, and reading goes on only until the buffer is full.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.deliveries import Receipt
from iotistic.telemetry.model import DeadLetter, Messages
from iotistic.telemetry.transports.buffer import Buffer, BufferLimits
from iotistic.telemetry.transports.draining import DRAIN_WITHIN_S, Ending, run_and_drain
from iotistic.telemetry.transports.insisting import Dependency
from iotistic.telemetry.transports.kafka.letters import Letter, encode_letters
from iotistic.telemetry.transports.kafka.observing import StageMetrics
from iotistic.telemetry.transports.kafka.producer import BatchProducer, Outgoing
from iotistic.telemetry.transports.kafka.raw_records import RawEncoder
from iotistic.telemetry.transports.observing import IngestMetrics
from iotistic.telemetry.transports.receiving import Receiver

TOO_LARGE = "connector.message_too_large"


@dataclass(frozen=True, slots=True)
class ConnectorOptions:
    """Topics and bounds."""

    raw_topic: str
    dead_letter_topic: str
    limits: BufferLimits = field(default_factory=BufferLimits)
    drain_within_s: float = DRAIN_WITHIN_S


class Connector:
    """Run it until `stop`, then what it holds is sent and acknowledged."""

    def __init__(
        self,
        subscriber: BulkSubscriber,
        producer: BatchProducer,
        ensure_topics: Callable[[], Awaitable[None]],
        metrics: StageMetrics,
        receiving: IngestMetrics,
        options: ConnectorOptions,
    ) -> None:
        self._subscriber, self._producer, self._ensure_topics = subscriber, producer, ensure_topics
        self._metrics, self._options = metrics, options
        self._buffer = Buffer(options.limits)
        self._receiver = Receiver(subscriber, self._buffer, receiving)
        self._encoder = RawEncoder()
        self._encoded: asyncio.Queue[tuple[Outgoing, Messages, list[Receipt]]] = asyncio.Queue(1)
        self._kafka = Dependency("kafka", metrics.outages.labels("kafka").inc)
        self._busy = 0

    @property
    def broker_away(self) -> IotisticError | None:
        """Why nothing can be received at the moment."""
        return self._receiver.away

    @property
    def kafka_away(self) -> IotisticError | None:
        """Why nothing can be sent at the moment."""
        return self._kafka.away

    @property
    def idle(self) -> bool:
        """Whether everything received has been delivered and acknowledged."""
        return not self._buffer and not self._busy

    async def run(self, stop: asyncio.Event) -> None:
        """Receive and send until `stop` is set; then drain for a while and leave the broker.

        Raises TopicCompacted and TopicMissing: what Kafka has cannot be used.
        """
        ending = Ending(lambda: self.idle, self._subscriber.close, self._options.drain_within_s)
        try:
            await run_and_drain(stop, self._receiver.receive(), [self._encode(), self._send()], ending)
        finally:
            self._subscriber.abandon()
            self._producer.close()

    async def _encode(self) -> None:
        while True:
            await self._buffer.filled()
            self._busy += 1
            messages, receipts = self._buffer.take()
            keys, values = self._encoder.encode(messages)
            await self._encoded.put((Outgoing(self._options.raw_topic, keys, values), messages, receipts))

    async def _send(self) -> None:
        await self._kafka.insist(self._ensure_topics)
        while True:
            batch, messages, receipts = await self._encoded.get()
            started = time.perf_counter()
            refused = await self._kafka.insist(lambda: self._producer.send(batch))  # noqa: B023  awaited at once
            if refused:
                letters = self._letters(messages, refused)
                await self._kafka.insist(lambda: self._producer.send_all(letters))  # noqa: B023  awaited at once
            for receipt in receipts:
                self._subscriber.acknowledge(receipt)
            self._busy -= 1
            self._metrics.count(records=len(messages), seconds=time.perf_counter() - started)
            del batch, messages

    def _letters(self, messages: Messages, refused: list[int]) -> Outgoing:
        letters = [
            Letter(
                DeadLetter(
                    messages.topics[place],
                    messages.payloads[place],
                    TOO_LARGE,
                    f"Kafka takes no record of this message's {len(messages.payloads[place])} bytes",
                )
            )
            for place in refused
        ]
        for _ in letters:
            self._metrics.count_dead(TOO_LARGE)
        keys, values = encode_letters(letters, received_us=messages.received_us)
        return Outgoing(self._options.dead_letter_topic, keys, values)
