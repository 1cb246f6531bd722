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
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.deliveries import Receipt
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.decode.stamping import beside_payloads
from iotistic.telemetry.model import (
    DeadLetter,
    Messages,
    Resolved,
    concat_deliveries,
    concat_rows,
    no_rows,
)
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.buffer import Buffer, BufferLimits
from iotistic.telemetry.transports.observing import IngestMetrics
from iotistic.telemetry.transports.receiving import Receiver

log = structlog.get_logger()

T = TypeVar("T")

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0


class Watchers(Protocol):
    """Those who are told of a batch once it is stored."""

    def committed(self, batch: Resolved) -> None:
        """Hear of a stored batch; must return at once."""
        ...


@dataclass(frozen=True, slots=True)
class DirectOptions:
    """Bounds of the direct transport."""

    limits: BufferLimits = field(default_factory=BufferLimits)
    drain_within_s: float = 10.0


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
        self._subscriber, self._decoder, self._resolver, self._sink = subscriber, decoder, resolver, sink
        self._metrics, self._watchers = metrics, watchers
        self._options = options or DirectOptions()
        self._buffer = Buffer(self._options.limits)
        self._receiver = Receiver(subscriber, self._buffer, metrics)
        self._prepared: asyncio.Queue[tuple[Resolved, list[Receipt]]] = asyncio.Queue(1)
        self._busy = 0
        self.database_away: IotisticError | None = None
        """Why nothing can be stored at the moment."""

    @property
    def broker_away(self) -> IotisticError | None:
        """Why nothing can be received at the moment."""
        return self._receiver.away

    @property
    def idle(self) -> bool:
        """Whether everything received has been stored and acknowledged."""
        return not self._buffer and not self._busy

    async def run(self, stop: asyncio.Event, *, retire: float | None = None) -> None:
        """Receive and store until `stop` is set; then drain for a while and leave the broker.

        With `retire` the worker ends by itself once nothing has arrived for that many seconds, and the
        broker forgets its session.
        """
        receiving = asyncio.create_task(self._receiver.receive())
        workers = [asyncio.create_task(self._prepare()), asyncio.create_task(self._write())]
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait()), receiving, *workers]
        if retire is not None:
            waits.append(asyncio.create_task(self._until_silent(retire)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            receiving.cancel()
            await asyncio.wait([receiving])  # until it has let go of the socket, which leaving reads from
            await self._drain(workers)
            if retire is not None and not stop.is_set() and self.idle:
                await self._subscriber.end_session()
            await self._subscriber.close()
        finally:
            for task in waits:
                task.cancel()
            results = await asyncio.gather(*waits, return_exceptions=True)
            self._subscriber.abandon()
            await self._sink.close()
        for result in results:  # a fault of ours ends the process loudly
            if isinstance(result, Exception):
                raise result

    async def _until_silent(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while loop.time() - quiet_since < seconds:
            await asyncio.sleep(seconds / 10)
            if not self.idle or self.broker_away:
                quiet_since = loop.time()

    async def _drain(self, workers: list[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.drain_within_s
        while not self.idle and loop.time() < deadline and not any(task.done() for task in workers):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)
        if not self.idle:
            log.warning("ingest.drain_ended_early", waiting_bytes=self._buffer.waiting_bytes)

    async def _prepare(self) -> None:
        while True:
            await self._buffer.filled()
            self._busy += 1
            messages, receipts = self._buffer.take()
            self._metrics.waiting_bytes.set(self._buffer.waiting_bytes)
            resolved = await self._prepare_batch(messages)
            del messages  # what waits to be written holds rows, not payloads
            await self._prepared.put((resolved, receipts))
            del resolved

    async def _prepare_batch(self, messages: Messages) -> Resolved:
        """Decode and resolve. A fault of ours costs the messages that show it, and never the stream."""
        try:
            return await self._insist(lambda: self._decode_and_resolve(messages))
        except Exception as exc:
            if len(messages) == 1:
                letter = DeadLetter(
                    messages.topics[0], messages.payloads[0], "ingest.fault", repr(exc)[:1000]
                )
                return Resolved(no_rows(), [], [letter], messages.received_us, beside_payloads(messages))
            log.exception("ingest.batch_failed", messages=len(messages))
        middle = len(messages) // 2
        halves = [await self._prepare_batch(half) for half in messages.split(middle)]
        return Resolved(
            concat_rows([half.rows for half in halves]),
            [event for half in halves for event in half.events],
            [letter for half in halves for letter in half.dead_letters],
            messages.received_us,
            concat_deliveries(half.deliveries for half in halves),
        )

    async def _decode_and_resolve(self, messages: Messages) -> Resolved:
        decoded = self._decoder.decode(messages)
        return await self._resolver.resolve(decoded, messages, self._decoder.series)

    async def _write(self) -> None:
        while True:
            batch, receipts = await self._prepared.get()
            started = time.perf_counter()
            written = await self._insist(lambda: self._sink.write(batch))  # noqa: B023  awaited at once
            for receipt in receipts:
                self._subscriber.acknowledge(receipt)
            self._busy -= 1
            self._metrics.count(
                messages=sum(receipt.messages for receipt in receipts),
                batch=batch,
                written=written,
                seconds=time.perf_counter() - started,
            )
            self._watchers.committed(batch)
            del batch

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, trying again for as long as the database is away."""
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                result = await attempt()
            except Unavailable as exc:
                if self.database_away is None:
                    self._metrics.outages.labels("database").inc()
                    log.warning("database.lost", reason=exc.message)
                self.database_away = exc
            else:
                if self.database_away is not None:
                    log.info("database.back")
                self.database_away = None
                return result
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter, not a secret
            pause_s = min(pause_s * 2, _RETRY_MOST_S)
