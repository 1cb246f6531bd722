"""One SQLite file, worked on by one thread, behind an asynchronous face.

Invariants:
- Work that is handed in is done in that order. What is waiting together becomes one transaction, so that a
  burst costs one sync of the disk; work that fails is undone alone.
- `run` returns after the commit; with `durable` a power cut cannot take it back.
- A file that is not a whole database is set aside, a new one takes its place, and what can still be read is
  copied over. That happens at most once for each file: there is no loop.
- A disk that takes no writes is said once, and every work that writes fails with StoreUnavailable until it
  does again. When the file cannot even be opened, a copy in the temporary folder takes its place.

The file is held exclusively: no shared memory file, and no second agent.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from iotistic.agent.store import recovery
from iotistic.agent.store.errors import StoreInUse, StoreSchemaUnusable, StoreUnavailable
from iotistic.agent.store.schema import migrate
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.files import PRIVATE

log = structlog.get_logger()

T = TypeVar("T")

_CHECKED_UP_TO_BYTES = 16 * 2**20
"""Larger files are checked only after the process before did not close them: reading 16 MB takes a second."""
_RETRY_S = 5.0
_PRAGMAS = (
    # What is written at once is a page: an append of 1.8 KB writes 4.0 KB with pages of 1 KB, 7.2 KB with 4 KB.
    "page_size = 1024",
    "wal_autocheckpoint = 4096",
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = OFF",
    "temp_store = MEMORY",
    "cache_size = -512",
)


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    durable: bool
    future: "Future[Any]"


class Database:
    """Made by `open_database`."""

    def __init__(self, path: Path, executor: Executor | None = None) -> None:
        self.path = path
        self.fault = ""
        """Why the disk takes no writes; empty while it does."""
        self.is_kept = True
        """False while nothing outlives the process, since the file cannot be opened."""
        self.rollbacks = 0
        """Counts what was undone: whoever remembers what stood in the tables looks again."""
        self._own = None if executor else ThreadPoolExecutor(1, thread_name_prefix="store")
        self._executor = executor or self._own
        self._connection: sqlite3.Connection | None = None
        self._pending: list[_Job] = []
        self._scheduled = False
        self._guard = threading.Lock()
        self._changes_before = 0

    async def open(self) -> None:
        """Open the file, or make it. Raises StoreInUse and StoreSchemaUnusable."""
        await self._call(self._open)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Do some work in a transaction, in the store's thread, and return what it returns.

        Work that is not durable survives the process, but not always a power cut. Raises StoreUnavailable.
        """
        job = _Job(work, durable, Future())
        if self._executor is None:
            raise StoreUnavailable("the store is closed")
        with self._guard:
            self._pending.append(job)
            starting = not self._scheduled
            self._scheduled = True
        if starting:
            self._submit(self._drain)
        return await asyncio.wrap_future(job.future)

    async def compact(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it. Raises StoreUnavailable."""

        def work() -> None:
            try:
                connection = self._connected()
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as exc:
                raise self._noted(exc) from exc

        await self._call(work)

    async def close(self) -> None:
        """Finish what is waiting, and let go of the file."""
        if self._executor is None:
            return
        await self._call(self._close)
        self._executor = None
        if self._own is not None:
            self._own.shutdown(wait=False)

    async def _call(self, function: Callable[[], None]) -> None:
        future: Future[None] = Future()

        def call() -> None:
            try:
                function()
            except BaseException as exc:  # noqa: BLE001  belongs to whoever called
                future.set_exception(exc)
            else:
                future.set_result(None)

        self._submit(call)
        await asyncio.wrap_future(future)

    def _submit(self, function: Callable[[], None]) -> None:
        if self._executor is None:
            raise StoreUnavailable("the store is closed")
        self._executor.submit(function)

    # Everything below runs in the store's thread.

    def _drain(self) -> None:
        while True:
            with self._guard:
                jobs, self._pending = self._pending, []
                if not jobs:
                    self._scheduled = False
                    return
            self._work([job for job in jobs if job.future.set_running_or_notify_cancel()])

    def _work(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            connection = self._connected()
            level = "FULL" if any(job.durable for job in jobs) else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            connection.execute("BEGIN")
            results = [(job, *self._attempt(connection, job)) for job in jobs]
            wrote = connection.total_changes
            connection.execute("COMMIT")
        except (sqlite3.Error, IotisticError) as exc:
            fault = self._failed(exc)
            results = [(job, None, fault) for job in jobs]
        else:
            self._note_writes(wrote)
        for job, result, error in results:
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)

    def _attempt(self, connection: sqlite3.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        """Do one piece of work; what it did is undone when it fails, and its neighbours stay."""
        connection.execute("SAVEPOINT work")
        try:
            result = job.work(connection)
        except Exception as exc:
            self.rollbacks += 1
            if isinstance(exc, sqlite3.Error) and (recovery.is_corrupt(exc) or recovery.is_of_the_disk(exc)):
                raise
            if not connection.in_transaction:
                raise sqlite3.OperationalError("the transaction was undone") from exc
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            return None, exc
        connection.execute("RELEASE work")
        return result, None

    def _failed(self, exc: sqlite3.Error | IotisticError) -> IotisticError:
        self.rollbacks += 1
        if isinstance(exc, IotisticError):
            return exc
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if not recovery.is_corrupt(exc):
            return self._noted(exc)
        self._close()
        try:
            self._rebuild(str(exc))
        except (OSError, sqlite3.Error, IotisticError) as again:
            return StoreUnavailable(f"the store could not be rebuilt: {again}", retry_after_s=_RETRY_S)
        return StoreUnavailable("the store had to be rebuilt; try again")

    def _noted(self, exc: sqlite3.Error) -> StoreUnavailable:
        if not self.fault:
            log.error("store.writes_refused", path=str(self.path), reason=str(exc))
        self.fault = str(exc)
        return StoreUnavailable(
            f"the agent's disk does not take writes: {exc}",
            retry_after_s=_RETRY_S,
            hint=f"make room on, or repair, the disk of {self.path.parent}",
        )

    def _note_writes(self, total_changes: int) -> None:
        """A fault is over once something was written again."""
        if self.fault and self.is_kept and total_changes > self._changes_before:
            log.info("store.writes_back", path=str(self.path))
            self.fault = ""
        self._changes_before = total_changes

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the store is closed")
        return self._connection

    def _open(self) -> None:
        try:
            self._connection = _connect(self.path)
        except sqlite3.Error as exc:
            if recovery.is_busy(exc):
                raise StoreInUse(f"another process holds {self.path}") from exc
            if recovery.is_corrupt(exc):
                self._rebuild(str(exc))
            elif recovery.is_of_the_disk(exc):
                self._stand_in(str(exc))
            else:
                raise StoreSchemaUnusable(f"{self.path}: {exc}", hint="move the database away") from exc
        except OSError as exc:
            self._stand_in(str(exc))

    def _rebuild(self, reason: str) -> None:
        """Put a new file in the place of one that is broken, with what can still be read of it."""
        self.rollbacks += 1
        aside = recovery.set_aside(self.path)
        log.error("store.set_aside", path=str(self.path), aside=str(aside), reason=reason)
        self._connection = connection = _connect(self.path)
        connection.execute("BEGIN")
        counts: dict[str, int] = {}
        try:
            counts = recovery.salvage(aside, connection)
        except sqlite3.Error as exc:
            log.warning("store.salvage_failed", path=str(aside), reason=str(exc))
        if connection.in_transaction:
            connection.execute("COMMIT")
        self._changes_before = 0
        log.warning("store.rebuilt", path=str(self.path), rows=counts)

    def _stand_in(self, reason: str) -> None:
        """Work on a copy that nobody keeps."""
        self.is_kept, self.fault = False, reason
        log.error("store.not_kept", path=str(self.path), reason=reason)
        try:
            self._connection = _connect(recovery.copy_elsewhere(self.path))
        except (OSError, sqlite3.Error):
            self._connection = _connect(None)
        # Stamps that are given now are not remembered: they are of an epoch that nobody continues.
        self._connection.execute("UPDATE outbox_state SET is_open = 0")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


async def open_database(path: Path, executor: Executor | None = None) -> Database:
    """Open the file, or make it (mode 600). Several databases may share an executor.

    Raises StoreInUse and StoreSchemaUnusable; a file that is broken or a disk that takes no writes is no error.
    """
    database = Database(path, executor)
    try:
        await database.open()
    except BaseException:
        await database.close()
        raise
    return database


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open a file, or a database in memory when there is none. Raises OSError and sqlite3.Error."""
    checked = path is not None and _is_to_be_checked(path)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
    connection = sqlite3.connect(
        path or ":memory:", timeout=1.0, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if checked:
            _check(connection)
        migrate(connection)
        connection.execute("BEGIN IMMEDIATE")  # says at once that the disk takes no writes
        connection.execute("UPDATE outbox_state SET id = 1 WHERE id = 1")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file that is not whole."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        fault = sqlite3.DatabaseError(said)
        fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise fault


def _is_to_be_checked(path: Path) -> bool:
    try:
        unclean = path.with_name(f"{path.name}-wal").exists()
        return unclean or path.stat().st_size <= _CHECKED_UP_TO_BYTES
    except OSError:
        return False
