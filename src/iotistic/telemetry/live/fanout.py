"""The live feed over a channel: any number of storing processes, any number of API processes, any hosts.

    committed --> [queue, bounded in bytes] --> channel --> every API process

Storing never waits for the channel: what does not fit into the queue is dropped, and so is what waits
when the channel fails. Receivers are told how many rows they missed (see `sealed`).
"""

import asyncio
from collections import deque
from typing import Protocol

import structlog
from prometheus_client import Counter

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.live.frames import FrameInvalid, rows_in
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.sealed import Sealer, Unsealer
from iotistic.telemetry.live.server import BUFFER_BYTES

log = structlog.get_logger()

CHANNEL = "iotistic:1:live"
DROPPED = Counter("iotistic_live_dropped_rows_total", "Rows that were stored and not sent to the live feed")
INVALID = Counter("iotistic_live_invalid_messages_total", "Messages of the live channel that are no frames")


class Channel(Protocol):
    """Sends to everybody who listens now."""

    async def publish(self, message: bytes) -> int:
        """Return how many listeners got it, once they have it. Raises Unavailable."""
        ...

    async def until_ready(self) -> None:
        """Wait for as long as the channel cannot be used."""
        ...


class ChannelFeed:
    """The storing process's side. It sends while the channel works, whether or not anybody listens.

    To ask first who listens would keep the first second from an API process that has just come.
    """

    def __init__(self, channel: Channel, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._channel = channel
        self._buffer_bytes = buffer_bytes
        self._sealer = Sealer()
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self.consumers = 1
        """1 while the channel works, 0 while frames would be made for nobody."""
        self.dropped_rows = 0
        """Rows that were stored and not sent, since the start."""

    async def start(self) -> None:
        """Begin to send."""
        self._sending = asyncio.create_task(self._send(), name="live channel")

    def publish(self, frame: bytes) -> None:
        """Queue one encoded frame when it fits; returns at once."""
        rows = rows_in(frame)
        message = self._sealer.seal(frame)
        if self._waiting_bytes + len(message) > self._buffer_bytes:
            self._drop(rows)
            return
        self._waiting.append((message, rows))
        self._waiting_bytes += len(message)
        self._filled.set()

    def unheard(self, rows: int) -> None:
        """Count rows that were stored while nobody listened: an API process that was away is told."""
        self._sealer.skip(rows)

    async def close(self) -> None:
        """Stop sending; what still waits is given up."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            try:
                while self._waiting:
                    await self._channel.publish(self._waiting[0][0])
                    self._waiting_bytes -= len(self._waiting.popleft()[0])
            except Unavailable:
                self.consumers = 0
                self._give_up()
                await self._channel.until_ready()
                self._give_up()
                self.consumers = 1
            if not self._waiting:
                self._filled.clear()

    def _give_up(self) -> None:
        """Drop what waits: it is old when the channel is back."""
        self._drop(sum(rows for _, rows in self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0

    def _drop(self, rows: int) -> None:
        self.dropped_rows += rows
        DROPPED.inc(rows)


class ChannelReceiver:
    """The API's side: hands what comes over the channel to the hub; `receive` is called with each message."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub
        self._unsealer = Unsealer()

    def receive(self, message: bytes) -> None:
        """Take one message; what is no frame is counted and skipped."""
        try:
            frames = self._unsealer.open(message)
        except FrameInvalid as exc:
            INVALID.inc()
            log.debug("live_message.refused", reason=str(exc))
            return
        for frame in frames:
            self._hub.dispatch(frame)
