"""The embedded PostgreSQL server: real, durable, loopback only, and gone when we are.

    claim -> leftovers -> programs -> cluster -> configuration -> postgres -> database

Invariants:
- One supervisor per home: the claim is held from `start` to `stop` and falls with our process.
- The kernel tells the server to shut down fast when we die, however we die.
- The data folder is whole or absent.
- The password stands in one file of mode 600; it never is an argument or an environment variable.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from iotistic.kernel import logfiles, process
from iotistic.kernel.engines import engine_folder
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.files import write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.postgres import binaries, cluster, leftovers, sockets
from iotistic.kernel.postgres.claim import Claim, password_of
from iotistic.kernel.postgres.cluster import PostgresFailed, failure
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import database_errors, open_connection

Progress = Callable[[str], None]

# Any free port, remembered: a well-known one would be taken by a neighbour during a restart.
PREFERRED_PORT = 0
DATABASE = "iotistic"
_HOST = "127.0.0.1"
# Replaying several GB of log after a power cut takes minutes on a small machine.
_READY_WITHIN_S = 900.0
_FAST_STOP_S = 60.0
_QUIT_STOP_S = 8.0
_POLL_S = 0.02
_SLOW_START_S = 3.0
_PORT_ATTEMPTS = 3
_ROTATE_EVERY_S = 60.0


class _PortTaken(Exception):  # noqa: N818 - it never leaves this module
    """Someone took the port between our choice and the server's bind."""


class PostgresServer:
    """Starts, watches over and stops the server of one home; `start` again after it died.

    Call `start` from the main thread: the server dies with the thread that started it.
    """

    def __init__(self, home: Home, *, preferred_port: int = PREFERRED_PORT) -> None:
        self._home = home
        self._preferred_port = preferred_port
        self._claim = Claim(home)
        self._log = home.logs / "postgres.log"
        self._account: process.Account | None = None
        self._folder: Path | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._dsn: Dsn | None = None
        self._sockets: Path | None = None
        self._rotation: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The postmaster as a child of ours, to wait for; None before `start` and after `stop`."""
        return self._child

    @property
    def pid(self) -> int | None:
        """Process id of the running postmaster."""
        return self._child.pid if self._child and self._child.returncode is None else None

    @property
    def data(self) -> Path:
        """The data folder. Raises PostgresFailed before the first `start`."""
        if self._folder is None:
            raise PostgresFailed("the server was never started")
        return self._folder / "data"

    @property
    def near(self) -> Dsn:
        """The address for processes of ours: over the socket, where there is one. Raises PostgresFailed."""
        if self._dsn is None:
            raise PostgresFailed("the server does not run")
        return self._dsn.over_socket(self._sockets) if self._sockets else self._dsn

    async def start(self, progress: Progress | None = None) -> Dsn:
        """Start the server and return the address of its database, ready for connections.

        Makes the cluster and the database the first time; returns at once while it runs. `progress`
        gets a line per step. Raises PostgresRunning, PostgresVersionMismatch, PostgresNotInstalled,
        PostgresOccupied, PostgresFailed, EngineFolderUnusable.
        """
        if self._dsn is not None and self.pid is not None:
            return self._dsn
        self._home.create()
        self._claim.take()
        try:
            self._dsn = await self._start(progress or _silent)
            self._claim.publish(self._dsn)
        except OSError as exc:  # a full disk, a file where a folder should be
            await self.stop()
            raise PostgresFailed(f"PostgreSQL cannot be started: {exc}") from exc
        except BaseException:
            await self.stop()
            raise
        return self._dsn

    async def stop(self) -> None:
        """Shut down: open transactions are rolled back, the next start needs no recovery."""
        if self._rotation is not None:
            self._rotation.cancel()
            self._rotation = None
        child, self._child, self._dsn = self._child, None, None
        try:
            if child is not None:
                await _end(child)
        finally:
            self._claim.release()

    async def _start(self, say: Progress) -> Dsn:
        self._account = process.service_account()
        self._folder = engine_folder(self._home, "postgres", self._account)
        password = password_of(self._home)
        source = await asyncio.to_thread(binaries.packaged)
        await leftovers.clear_leftovers(self.data, say)
        programs = await asyncio.to_thread(binaries.install, source, self._folder, self._account)
        if not self.data.exists():
            say(f"creating the database cluster (PostgreSQL {programs.version})")
            await cluster.create(self.data, programs, self._account, password=password, log=self._log)
        cluster.check_version(self.data, programs)
        port = await self._launch(programs, say)
        dsn = Dsn.of(user=cluster.SUPERUSER, host=_HOST, port=port, database=DATABASE, password=password)
        await self._ensure_database(dsn)
        if self._rotation is None:
            self._rotation = asyncio.create_task(self._rotate_log(), name="postgres-log-rotation")
        return dsn

    async def _launch(self, programs: binaries.Binaries, say: Progress) -> int:
        """Start on the remembered port, or the preferred one, or any; return which."""
        memory = self.data.with_name("port")
        wanted = _remembered(memory) or self._preferred_port
        for _attempt in range(_PORT_ATTEMPTS):
            port = process.pick_port(wanted)
            self._sockets = sockets.prepare(self.data.parent, self._account)
            cluster.configure(self.data, programs, self._account, port=port, sockets=self._sockets)
            try:
                await self._run(programs, say)
            except _PortTaken:
                wanted = 0
                continue
            write_atomic(memory, f"{port}\n")
            return port
        raise PostgresFailed(f"{_PORT_ATTEMPTS} ports in a row were taken by others")

    async def _run(self, programs: binaries.Binaries, say: Progress) -> None:
        """Start the postmaster and wait until it accepts connections. Raises _PortTaken, PostgresFailed."""
        logfiles.rotate(self._log)
        since = logfiles.size(self._log)
        with logfiles.open_log(self._log) as output:
            self._child = await process.spawn(
                [programs.program("postgres"), "-D", self.data],
                account=self._account,
                env=cluster.ENVIRONMENT,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                death_signal=signal.SIGINT,
            )
        if await self._is_ready(self._child, say):
            return
        if self._child.returncode is None:
            raise failure(f"PostgreSQL was not ready after {_READY_WITHIN_S:.0f} s", self._log, since)
        if "could not bind" in logfiles.tail(self._log, since=since):
            raise _PortTaken
        raise failure(f"PostgreSQL ended with status {self._child.returncode}", self._log, since)

    async def _is_ready(self, child: asyncio.subprocess.Process, say: Progress) -> bool:
        started = time.monotonic()
        told = False
        while child.returncode is None and (waited_s := time.monotonic() - started) < _READY_WITHIN_S:
            if leftovers.is_ready(self.data, child.pid):
                return True
            if waited_s > _SLOW_START_S and not told:
                say("PostgreSQL replays its log after an unclean stop")
                told = True
            await asyncio.sleep(_POLL_S)
        return False

    async def _ensure_database(self, dsn: Dsn) -> None:
        try:
            connection = await open_connection(dsn.with_database("postgres"), application_name="supervisor")
            try:
                with database_errors():
                    if not await connection.fetchval(
                        "SELECT 1 FROM pg_database WHERE datname = $1", DATABASE
                    ):
                        await connection.execute(f"CREATE DATABASE {DATABASE}")
            finally:
                await connection.close()
        except IotisticError as exc:
            raise PostgresFailed(
                f"PostgreSQL runs but refuses us: {exc.message}",
                hint=f"{self._home.secrets / 'postgres-password'} must hold the password the data was made with",
            ) from exc

    async def _rotate_log(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            await asyncio.to_thread(logfiles.rotate, self._log)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask for a fast shutdown, then an immediate one; a killed postmaster leaves backends behind."""
    for how, within_s in ((signal.SIGINT, _FAST_STOP_S), (signal.SIGQUIT, _QUIT_STOP_S)):
        if child.returncode is not None:
            return
        child.send_signal(how)
        try:
            await asyncio.wait_for(child.wait(), within_s)
        except TimeoutError:
            continue
    await process.stop(child, stop_signal=signal.SIGKILL)


def _remembered(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _silent(_line: str) -> None:
    """Progress that nobody asked for."""
