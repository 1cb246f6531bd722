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
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from iotistic.agent.store import recovery
from iotistic.agent.store.connecting import connect
from iotistic.agent.store.errors import StoreInUse, StoreSchemaUnusable, StoreUnavailable
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

T = TypeVar("T")

_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    durable: bool
    future: "Future[Any]"


class Participant(Protocol):
    """Whoever remembers what stands in the tables, in the store's thread."""

    def remember(self) -> object:
        """Return what is remembered, before something that may be undone."""
        ...

    def recall(self, memory: object | None) -> None:
        """Go back to that; None when the tables are others now."""
        ...


class Database:
    """Made by `open_database`."""

    def __init__(self, path: Path, executor: Executor | None = None) -> None:
        self.path = path
        self.fault = ""
        """Why the disk takes no writes; empty while it does."""
        self.is_kept = True
        """False while nothing outlives the process, since the file cannot be opened."""
        self.rebuilds = 0
        """How often a new file took the place of a broken one: what was kept before may be gone."""
        self.participants: list[Participant] = []
        self._own = None if executor else ThreadPoolExecutor(1, thread_name_prefix="store")
        self._executor = executor or self._own
        self._connection: sqlite3.Connection | None = None
        self._pending: list[_Job] = []
        self._scheduled = False
        self._guard = threading.Lock()
        self._working = threading.Lock()
        """Work is done by one thread at a time, also where an executor has several."""

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

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what has to wait for the disk beside the file, in the store's thread, and return what it returns.

        Raises StoreUnavailable when the store is closed.
        """
        return await self._call(work)

    async def _call(self, function: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def call() -> None:
            try:
                with self._working:
                    found = function()
            except BaseException as exc:  # noqa: BLE001  belongs to whoever called
                future.set_exception(exc)
            else:
                future.set_result(found)

        self._submit(call)
        return await asyncio.wrap_future(future)

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
            with self._working:
                self._work([job for job in jobs if job.future.set_running_or_notify_cancel()])

    def _work(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        results: list[tuple[_Job, Any, BaseException | None]] = []
        memories = self._remember()
        try:
            connection = self._connected()
            level = "FULL" if any(job.durable for job in jobs) else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            connection.execute("BEGIN")
            before = connection.total_changes
            results = [(job, *self._attempt(connection, job)) for job in jobs]
            wrote = connection.total_changes > before
            connection.execute("COMMIT")
        except (sqlite3.Error, IotisticError) as exc:
            self._recall(memories)
            fault = self._failed(exc)
            results = [(job, None, fault) for job in jobs]
        else:
            self._note_writes(wrote=wrote)
        for job, result, error in results:
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)

    def _attempt(self, connection: sqlite3.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        """Do one piece of work; what it did is undone when it fails, and its neighbours stay."""
        memories = self._remember()
        connection.execute("SAVEPOINT work")
        try:
            result = job.work(connection)
        except Exception as exc:
            if isinstance(exc, sqlite3.Error) and (recovery.is_corrupt(exc) or recovery.is_of_the_disk(exc)):
                raise
            if not connection.in_transaction:
                raise sqlite3.OperationalError("the transaction was undone") from exc
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            self._recall(memories)
            return None, exc
        connection.execute("RELEASE work")
        return result, None

    def _remember(self) -> list[tuple[Participant, object]]:
        return [(one, one.remember()) for one in self.participants]

    def _recall(self, memories: list[tuple[Participant, object]]) -> None:
        for one, memory in memories:
            one.recall(memory)

    def _failed(self, exc: sqlite3.Error | IotisticError) -> IotisticError:
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
        if self._connection is not None:
            # On a full disk the log cannot grow; what is in it is made to fit into the file, if that has room.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return StoreUnavailable(
            f"the agent's disk does not take writes: {exc}",
            retry_after_s=_RETRY_S,
            hint=f"make room on, or repair, the disk of {self.path.parent}",
        )

    def _note_writes(self, *, wrote: bool) -> None:
        """A fault is over once something was written again."""
        if self.fault and self.is_kept and wrote:
            log.info("store.writes_back", path=str(self.path))
            self.fault = ""

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the store is closed")
        return self._connection

    def _open(self) -> None:
        try:
            self._connection = connect(self.path)
        except sqlite3.Error as exc:
            if recovery.is_busy(exc):
                hint = "another agent runs on this folder: stop it, or give this one a folder of its own"
                raise StoreInUse(f"another process holds {self.path}", hint=hint) from exc
            if recovery.is_corrupt(exc):
                self._rebuild_or_stand_in(str(exc))
            elif recovery.is_of_the_disk(exc):
                self._stand_in(str(exc))
            else:
                raise StoreSchemaUnusable(f"{self.path}: {exc}", hint="move the database away") from exc
        except OSError as exc:
            self._stand_in(str(exc))

    def _rebuild_or_stand_in(self, reason: str) -> None:
        try:
            self._rebuild(reason)
        except (OSError, sqlite3.Error) as exc:
            self._stand_in(str(exc))

    def _rebuild(self, reason: str) -> None:
        """Put a new file in the place of one that is broken, with what can still be read of it."""
        self.rebuilds += 1
        aside = recovery.set_aside(self.path)
        log.error("store.set_aside", path=str(self.path), aside=str(aside), reason=reason)
        self._connection = connect(self.path)
        counts = recovery.salvage(aside, self._connection)
        for one in self.participants:
            one.recall(None)
        log.warning("store.rebuilt", path=str(self.path), rows=counts)

    def _stand_in(self, reason: str) -> None:
        """Work on a copy that nobody keeps."""
        self.is_kept, self.fault = False, reason
        log.error("store.not_kept", path=str(self.path), reason=reason)
        try:
            elsewhere = recovery.copy_elsewhere(self.path)
            self._connection = connect(elsewhere)
            shutil.rmtree(elsewhere.parent, ignore_errors=True)  # open files live on without a name
        except (OSError, sqlite3.Error):
            self._connection = connect(None)
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
