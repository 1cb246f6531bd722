"""The direct transport: MQTT in, PostgreSQL out, in one process, acknowledging after the commit.

    broker --> receive --> [waiting] --> decode + resolve --> [one batch] --> write --> acknowledge

Receiving, preparing and writing overlap: while PostgreSQL works on a batch, the next one is decoded, and
what arrives meanwhile gathers. Memory is bounded three times: by the broker, which sends no more than
`receive_maximum` unacknowledged messages; by the bytes that may wait in the buffer; and by the bytes of
the one batch in each hand. When the database is away the batch in hand is tried again until it is stored; nothing is
acknowledged, and reading goes on only until the buffer is full.

Reading on while the database is away is deliberate: a broker that is killed forgets messages that it
has acknowledged to their publishers, but not those that it had already handed to us.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.deliveries import Receipt
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Resolved
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.buffer import Buffer, BufferLimits
from iotistic.telemetry.transports.draining import DRAIN_WITHIN_S, Ending, run_and_drain
from iotistic.telemetry.transports.insisting import Dependency
from iotistic.telemetry.transports.observing import IngestMetrics
from iotistic.telemetry.transports.preparing import Preparer, joined
from iotistic.telemetry.transports.receiving import Receiver


class Watchers(Protocol):
    """Those who are told of a batch once it is stored."""

    def committed(self, batch: Resolved) -> None:
        """Hear of a stored batch; must return at once."""
        ...


@dataclass(frozen=True, slots=True)
class DirectOptions:
    """Bounds of the direct transport."""

    limits: BufferLimits = field(default_factory=BufferLimits)
    drain_within_s: float = DRAIN_WITHIN_S


class DirectTransport:
    """One worker: run it until `stop`, then what it holds is stored and acknowledged."""

    def __init__(
        self,
        subscriber: BulkSubscriber,
        decoder: Decoder,
        resolver: Resolver,
        sink: Sink,
        metrics: IngestMetrics,
        watchers: Watchers,
        options: DirectOptions | None = None,
    ) -> None:
        self._subscriber, self._sink = subscriber, sink
        self._preparer = Preparer(decoder, resolver)
        self._metrics, self._watchers = metrics, watchers
        self._options = options or DirectOptions()
        self._buffer = Buffer(self._options.limits)
        self._receiver = Receiver(subscriber, self._buffer, metrics)
        self._prepared: asyncio.Queue[tuple[Resolved, list[Receipt]]] = asyncio.Queue(1)
        self._busy = self._in_hand = 0
        self._database = Dependency("database", metrics.outages.labels("database").inc)

    @property
    def database_away(self) -> IotisticError | None:
        """Why nothing can be stored at the moment."""
        return self._database.away

    @property
    def broker_away(self) -> IotisticError | None:
        """Why nothing can be received at the moment."""
        return self._receiver.away

    @property
    def idle(self) -> bool:
        """Whether everything received has been stored and acknowledged."""
        return not self._buffer and not self._busy

    @property
    def waiting(self) -> int:
        """How many messages were received and are not stored."""
        return self._buffer.waiting_messages + self._in_hand

    async def run(self, stop: asyncio.Event, *, retire: float | None = None) -> None:
        """Receive and store until `stop` is set; then drain for a while and leave the broker.

        With `retire` the worker ends by itself once nothing has arrived for that many seconds, and the
        broker forgets its session.
        """
        silence = None if retire is None else self._until_silent(retire)
        ending = Ending(
            lambda: self.idle,
            lambda: self._leave(retiring=silence is not None and not stop.is_set()),
            self._options.drain_within_s,
        )
        try:
            workers = [self._prepare(), self._write()]
            await run_and_drain(stop, self._receiver.receive(), workers, ending, until=silence)
        finally:
            self._subscriber.abandon()
            await self._sink.close()

    async def _leave(self, *, retiring: bool) -> None:
        if retiring and self.idle:
            await self._subscriber.end_session()
        await self._subscriber.close()

    async def _until_silent(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while loop.time() - quiet_since < seconds:
            await asyncio.sleep(seconds / 10)
            if not self.idle or self.broker_away:
                quiet_since = loop.time()

    async def _prepare(self) -> None:
        while True:
            await self._buffer.filled()
            self._busy += 1
            messages, receipts = self._buffer.take()
            self._in_hand += len(messages)
            self._metrics.waiting_bytes.set(self._buffer.waiting_bytes)
            parts = await self._database.insist(lambda: self._preparer.prepare(messages))  # noqa: B023  awaited at once
            resolved = joined(parts)
            del messages, parts  # what waits to be written holds rows, not payloads
            await self._prepared.put((resolved, receipts))
            del resolved

    async def _write(self) -> None:
        while True:
            batch, receipts = await self._prepared.get()
            started = time.perf_counter()
            written = await self._database.insist(lambda: self._sink.write(batch))  # noqa: B023  awaited at once
            for receipt in receipts:
                self._subscriber.acknowledge(receipt)
            self._busy -= 1
            messages = sum(receipt.messages for receipt in receipts)
            self._in_hand -= messages
            self._metrics.count(
                messages=messages,
                batch=batch,
                written=written,
                seconds=time.perf_counter() - started,
            )
            self._watchers.committed(batch)
            del batch
