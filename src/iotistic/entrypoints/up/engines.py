"""PostgreSQL and Mosquitto as parts that `up` keeps running."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from iotistic.entrypoints.up.parts import PartFailed
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerNotStarted, MosquittoServer
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.server import PostgresServer, Progress

_SAVED_WITHIN_S = 10.0
_SUBSCRIBED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.02


@dataclass
class Postgres:
    """The embedded PostgreSQL; it keeps its port over restarts of the engine."""

    home: Home
    progress: Progress
    name: str = "postgres"
    _server: PostgresServer = field(init=False)
    _address: Dsn | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._server = PostgresServer(self.home)

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.home.logs / "postgres.log"

    @property
    def dsn(self) -> Dsn:
        """Where it listens for our own processes. Raises PartFailed before the first start."""
        if self._address is None:
            raise PartFailed("PostgreSQL was not started")
        return self._server.near

    async def start(self) -> None:
        """Start it; returns when it takes connections."""
        before = self._address
        self._address = await self._server.start(self.progress)
        if before is not None and before.url != self._address.url:
            # Our processes hold the old address in their environment, and only a whole start gives a new one.
            await self._server.stop()
            self._address = before
            raise PartFailed(
                "PostgreSQL's port was taken by another program while it was down",
                hint="free the port, or stop and start `iotistic up`",
                address=str(before),
            )

    async def wait(self) -> int:
        """Return the postmaster's exit status."""
        child = self._server.process
        return await child.wait() if child else 0

    async def stop(self) -> None:
        """Shut it down fast: open transactions are rolled back."""
        await self._server.stop()

    def kill(self) -> None:
        """End the postmaster at once; its log is replayed at the next start."""
        if self._server.pid is not None and self._server.process is not None:
            self._server.process.kill()


@dataclass
class Mosquitto:
    """The broker; its log lines are structured events in the log of `up`.

    It keeps sessions in memory and saves them now and then. A session that it forgets in a crash would
    cost all that is published before its owner is back, so sessions are saved as soon as they are made.
    """

    home: Home
    server: MosquittoServer
    name: str = "mosquitto"
    subscribers: list[Callable[[], Awaitable[bool]]] = field(
        default_factory=list[Callable[[], Awaitable[bool]]], init=False
    )
    """Say whether those whose sessions must be kept have subscribed."""
    _saving: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """Where its events go."""
        return self.home.logs / "up.log"

    async def start(self) -> None:
        """Start it; returns when it takes our services' connections."""
        await self.server.start()
        self._saving = asyncio.create_task(self._save_once_subscribed())

    async def save(self) -> None:
        """Return when the sessions are on disk; a broker that is away or stuck is not waited for long."""
        file = self.server.config.files.data / "mosquitto.db"
        before = _version(file)
        self.server.save()
        deadline = time.monotonic() + _SAVED_WITHIN_S
        while _version(file) == before and time.monotonic() < deadline:  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _save_once_subscribed(self) -> None:
        deadline = time.monotonic() + _SUBSCRIBED_WITHIN_S
        for subscribed in self.subscribers:
            while not await subscribed() and time.monotonic() < deadline:  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(_LOOK_EVERY_S)
        await self.save()

    async def wait(self) -> int:
        """Return its exit status."""
        return await self.server.process.wait()

    async def stop(self) -> None:
        """Stop it; it saves queued messages and sessions first."""
        if self._saving is not None:
            self._saving.cancel()
        await self.server.stop()

    def kill(self) -> None:
        """End it at once."""
        with suppress(BrokerNotStarted, ProcessLookupError):
            self.server.process.kill()


def _version(file: Path) -> tuple[int, int] | None:
    """Return what changes when `file` is replaced."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
