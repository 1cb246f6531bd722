"""The worker's side of the live feed: every committed batch goes to each connected API process.

Publishing never waits: a consumer whose buffer is full misses whole frames, which are counted, and
hears how many rows it missed before the next frame that fits. Storing readings never depends on
anyone who watches them.
"""

import asyncio
from pathlib import Path
from typing import cast

import structlog

from iotistic.telemetry.live.frames import encode_lost, rows_in
from iotistic.telemetry.live.sockets import listening_socket

log = structlog.get_logger()

BUFFER_BYTES = 8 * 1024 * 1024


def socket_path(run: Path, worker: str) -> Path:
    """Return the place of one worker's socket below the installation's run folder."""
    return run / f"live-{worker}.sock"


class LiveFeedServer:
    """Serves one worker's live feed on a unix socket of mode 600."""

    def __init__(self, path: Path, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._path = path
        self._buffer_bytes = buffer_bytes
        self._consumers: set[_Consumer] = set()
        self._server: asyncio.Server | None = None
        self.dropped_rows = 0
        """Rows that some consumer did not get, since the start."""

    @property
    def consumers(self) -> int:
        """How many API processes listen now; with none, there is no need to encode a frame."""
        return len(self._consumers)

    async def start(self) -> None:
        """Begin to listen; raise OSError when the folder is missing or not ours."""
        listener = listening_socket(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Consumer(self), sock=listener)

    def publish(self, frame: bytes) -> None:
        """Hand one encoded frame to every consumer that has room for it; returns at once."""
        for consumer in tuple(self._consumers):
            self.dropped_rows += consumer.offer(frame, self._buffer_bytes)

    def unheard(self, rows: int) -> None:
        """Do nothing: whoever connects later was not listening."""

    async def close(self) -> None:
        """Stop listening, drop the consumers and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for consumer in tuple(self._consumers):
            consumer.abort()
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    def join(self, consumer: "_Consumer") -> None:
        """Count a consumer in."""
        self._consumers.add(consumer)
        log.info("live_consumer.connected", consumers=len(self._consumers))

    def leave(self, consumer: "_Consumer") -> None:
        """Count a consumer out."""
        self._consumers.discard(consumer)
        log.info("live_consumer.disconnected", consumers=len(self._consumers))


class _Consumer(asyncio.Protocol):
    """One connected API process."""

    def __init__(self, server: LiveFeedServer) -> None:
        self._server = server
        self._transport: asyncio.WriteTransport | None = None
        self._missed_rows = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, so there is nothing to check at run time.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._server.join(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transport = None
        self._server.leave(self)

    def offer(self, frame: bytes, buffer_bytes: int) -> int:
        """Write `frame` when it fits; return the number of rows dropped."""
        if self._transport is None or self._transport.is_closing():
            return 0
        if self._transport.get_write_buffer_size() + len(frame) > buffer_bytes:
            rows = rows_in(frame)
            self._missed_rows += rows
            return rows
        if self._missed_rows:
            self._transport.write(encode_lost(self._missed_rows))
            self._missed_rows = 0
        self._transport.write(frame)
        return 0

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
