"""The direct transport: MQTT in, PostgreSQL out, in one process, acknowledging after the commit.

    broker --> receive --> [waiting] --> decode + resolve --> [one batch] --> write --> acknowledge

Receiving, preparing and writing overlap: while PostgreSQL works on a batch, the next one is decoded, and
what arrives meanwhile gathers. Memory is bounded three times: by the broker, which sends no more than
`receive_maximum` unacknowledged messages; by `buffer_bytes` of waiting deliveries; and by the one batch
in each hand. When the database is away the batch in hand is tried again until it is stored; nothing is
acknowledged, and reading goes on only until the buffer is full.

Reading on while the database is away is deliberate: a broker that is killed forgets messages that it
has acknowledged to their publishers, but not those that it had already handed to us.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.mqtt.bulk import BulkSubscriber, Delivery
from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import DeadLetter, Messages, Resolved, concat_rows, no_rows
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.observing import IngestMetrics

log = structlog.get_logger()

T = TypeVar("T")

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0
_REFUSED_AGAIN_S = 10.0


class Watchers(Protocol):
    """Those who are told of a batch once it is stored."""

    def committed(self, batch: Resolved) -> None:
        """Hear of a stored batch; must return at once."""
        ...


@dataclass(frozen=True, slots=True)
class DirectOptions:
    """Bounds of the direct transport."""

    buffer_bytes: int = 64 << 20
    batch_messages: int = 20_000
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
        self._waiting: deque[tuple[Delivery, int]] = deque()
        self._waiting_bytes = 0
        self._arrived, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._prepared: asyncio.Queue[tuple[Resolved, list[Delivery]]] = asyncio.Queue(1)
        self._clock_us = 0
        self._busy = 0
        self.database_away: IotisticError | None = None
        """Why nothing can be stored at the moment."""
        self.broker_away: IotisticError | None = BrokerUnavailable("not connected yet")
        """Why nothing can be received at the moment."""

    @property
    def idle(self) -> bool:
        """Whether everything received has been stored and acknowledged."""
        return not self._waiting and not self._busy

    async def run(self, stop: asyncio.Event, *, retire: float | None = None) -> None:
        """Receive and store until `stop` is set; then drain for a while and leave the broker.

        With `retire` the worker ends by itself once nothing has arrived for that many seconds, and the
        broker forgets its session.
        """
        receiving = asyncio.create_task(self._receive())
        workers = [asyncio.create_task(self._prepare()), asyncio.create_task(self._write())]
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait()), receiving, *workers]
        if retire is not None:
            waits.append(asyncio.create_task(self._until_silent(retire)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            receiving.cancel()
            await self._drain(workers)
            if retire is not None and not stop.is_set() and self.idle:
                await self._subscriber.end_session()
            await self._subscriber.close()
        finally:
            for task in waits:
                task.cancel()
            results = await asyncio.gather(*waits, return_exceptions=True)
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
            log.warning("ingest.drain_ended_early", waiting_bytes=self._waiting_bytes)

    async def _receive(self) -> None:
        """Keep a connection and take what comes, as long as there is room."""
        while True:
            await self._connect()
            with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                while True:
                    await self._has_room.wait()
                    delivery = await self._subscriber.receive()
                    self._admit(delivery)
            self._metrics.connected.set(0)

    async def _connect(self) -> None:
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                resumed = await self._subscriber.connect()
            except (BrokerUnavailable, BrokerRefused) as exc:
                if self.broker_away is None:
                    self._metrics.outages.labels("broker").inc()
                    log.warning("broker.lost", reason=exc.message)
                elif isinstance(exc, BrokerRefused):
                    log.error("broker.refused", reason=exc.message)  # noqa: TRY400  the trace says no more
                    pause_s = _REFUSED_AGAIN_S
                self.broker_away = exc
            else:
                self.broker_away = None
                self._metrics.connected.set(1)
                log.info("broker.connected", session_resumed=resumed)
                return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter, not a secret
            pause_s = min(pause_s * 2, _RETRY_MOST_S)

    def _admit(self, delivery: Delivery) -> None:
        # No two messages get the same time of receipt, which stands in for a missing timestamp.
        self._clock_us = max(time.time_ns() // 1000, self._clock_us + 1)
        self._waiting.append((delivery, self._clock_us))
        self._clock_us += len(delivery)
        self._waiting_bytes += delivery.octets
        self._metrics.waiting_bytes.set(self._waiting_bytes)
        if self._waiting_bytes >= self._options.buffer_bytes:
            self._has_room.clear()
        self._arrived.set()

    def _take(self) -> tuple[Messages, list[Delivery]]:
        """Return the deliveries that have gathered, up to one batch, as messages."""
        deliveries: list[Delivery] = []
        received_us = self._waiting[0][1]
        count = 0
        while self._waiting and (
            not deliveries or count + len(self._waiting[0][0]) <= self._options.batch_messages
        ):
            delivery, _ = self._waiting.popleft()
            deliveries.append(delivery)
            count += len(delivery)
            self._waiting_bytes -= delivery.octets
        if self._waiting_bytes < self._options.buffer_bytes:
            self._has_room.set()
        parts = [part for delivery in deliveries for part in delivery.parts]
        topics = [topic for part in parts for topic in part.topics()]
        payloads = [payload for part in parts for payload in part.payloads()]
        return Messages(topics, payloads, received_us), deliveries

    async def _prepare(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            self._busy += 1
            messages, deliveries = self._take()
            await self._prepared.put((await self._prepare_batch(messages), deliveries))

    async def _prepare_batch(self, messages: Messages) -> Resolved:
        """Decode and resolve. A fault of ours costs the messages that show it, and never the stream."""
        try:
            return await self._insist(lambda: self._decode_and_resolve(messages))
        except Exception as exc:
            if len(messages) == 1:
                letter = DeadLetter(
                    messages.topics[0], messages.payloads[0], "ingest.fault", repr(exc)[:1000]
                )
                return Resolved(no_rows(), [], [letter], messages.received_us)
            log.exception("ingest.batch_failed", messages=len(messages))
        middle = len(messages) // 2
        halves = [await self._prepare_batch(half) for half in messages.split(middle)]
        return Resolved(
            concat_rows([half.rows for half in halves]),
            [event for half in halves for event in half.events],
            [letter for half in halves for letter in half.dead_letters],
            messages.received_us,
        )

    async def _decode_and_resolve(self, messages: Messages) -> Resolved:
        decoded = self._decoder.decode(messages)
        return await self._resolver.resolve(decoded, messages, self._decoder.series)

    async def _write(self) -> None:
        while True:
            batch, deliveries = await self._prepared.get()
            started = time.perf_counter()
            written = await self._insist(lambda: self._sink.write(batch))  # noqa: B023  awaited at once
            for delivery in deliveries:
                self._subscriber.acknowledge(delivery)
            self._busy -= 1
            self._metrics.waiting_bytes.set(self._waiting_bytes)
            self._metrics.count(
                messages=sum(map(len, deliveries)),
                batch=batch,
                written=written,
                seconds=time.perf_counter() - started,
            )
            self._watchers.committed(batch)

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
