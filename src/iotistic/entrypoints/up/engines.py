"""PostgreSQL and Mosquitto as parts that `up` keeps running."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from iotistic.entrypoints.up.parts import PartFailed
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerNotStarted, MosquittoServer
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.server import PostgresServer, Progress


@dataclass
class Postgres:
    """The embedded PostgreSQL; it keeps its port over restarts of the engine."""

    home: Home
    progress: Progress
    name: str = "postgres"
    _server: PostgresServer = field(init=False)
    _dsn: Dsn | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._server = PostgresServer(self.home)

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.home.logs / "postgres.log"

    @property
    def dsn(self) -> Dsn:
        """Where it listens. Raises PartFailed before the first start."""
        if self._dsn is None:
            raise PartFailed("PostgreSQL was not started")
        return self._dsn

    async def start(self) -> None:
        """Start it; returns when it takes connections."""
        before = self._dsn
        self._dsn = await self._server.start(self.progress)
        if before is not None and before.url != self._dsn.url:
            # Our processes hold the old address in their environment, and only a whole start gives a new one.
            await self._server.stop()
            self._dsn = before
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
    """The broker; its log lines are structured events in the log of `up`."""

    home: Home
    server: MosquittoServer
    name: str = "mosquitto"

    @property
    def log(self) -> Path:
        """Where its events go."""
        return self.home.logs / "up.log"

    async def start(self) -> None:
        """Start it; returns when it takes our services' connections."""
        await self.server.start()

    async def wait(self) -> int:
        """Return its exit status."""
        return await self.server.process.wait()

    async def stop(self) -> None:
        """Stop it; it saves queued messages and sessions first."""
        await self.server.stop()

    def kill(self) -> None:
        """End it at once."""
        with suppress(BrokerNotStarted, ProcessLookupError):
            self.server.process.kill()
