"""The last stage: one transaction a batch, so that it is stored whole or not at all, and twice is once.

    COPY -> decoded_data                                                       while nothing repeats
    COPY -> staging (temporary) -> INSERT ... ON CONFLICT DO NOTHING -> decoded_data       once it does
    text readings, dead letters, the minutes to roll up and the stamps go in the same transaction

A batch that repeats a stored row fails on the table's key, is undone, and goes through staging, as do
the next few: rows come twice in bursts, after a reconnect. Measured: straight into the table costs
PostgreSQL 1.5 CPU seconds a million rows, through staging 3.4.

The commit is synchronous: when `write` returns, a power cut does not reach the batch any more.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import asyncpg
import numpy as np
import structlog

from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.faults import ROW_FAULTS, database_faults
from iotistic.kernel.postgres.pool import DatabaseUnavailable, database_errors, open_connection
from iotistic.kernel.postgres.queries import load_queries
from iotistic.telemetry.model import DeadLetter, Resolved, Rows, no_rows
from iotistic.telemetry.sink.copying import copy_rows, in_key_order
from iotistic.telemetry.sink.noting import note_batch

log = structlog.get_logger()

_SQL = load_queries("iotistic.telemetry.sink")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1)
_DAY_US = 86_400_000_000

_REFUSED = "sink.row_refused"

_CAUTIOUS_BATCHES = 16
"""Batches without a repeated row that still go through staging after one with."""

_ATTEMPTS = 4
"""Attempts to store one batch when rows repeat or partitions go meanwhile; each has its own remedy."""


class Written(NamedTuple):
    """What one batch added: rows that were there already are not counted in `rows`."""

    rows: int
    events: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """Limits of the sink."""

    timeout_s: float = 60.0
    """Seconds after which a batch is given up and its connection with it; it is then written again."""
    stands_still_s: float = 10.0
    """Seconds after which the server ends a transaction of ours in which nothing happens. A process that was
    stopped, or cut off from the server, must not hold up those who store the same rows in its place."""


class Sink:
    """Writes batches through one connection, which it opens when needed. One caller at a time."""

    def __init__(self, dsn: Dsn, *, application_name: str, options: SinkOptions | None = None) -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._options = options or SinkOptions()
        self._connection: asyncpg.Connection | None = None
        self._days: set[int] = set()
        self._cautious = 0
        self._staged_after_us: int | None = None

    async def write(self, batch: Resolved) -> Written:
        """Store a batch durably.

        Raises Unavailable when the database is away or full; nothing of the batch is stored then. Rows
        that the database itself refuses become dead letters.
        """
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await self._write_or_split(batch)
        except TimeoutError as exc:
            self._abandon()
            raise DatabaseUnavailable("the database took too long to store a batch") from exc
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
            # A server that dies inside a statement leaves the driver's side in a state of its own kind;
            # the connection is of no use any more, whatever it says.
            self._abandon()
            raise DatabaseUnavailable(f"the connection to the database broke: {exc}") from exc
        except BaseException:
            self._abandon()
            raise

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with database_errors():
                await connection.close(timeout=2)

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        self._days.clear()
        if connection is not None:
            connection.terminate()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            with database_faults():
                self._connection = await open_connection(self._dsn, application_name=self._application_name)
                await self._connection.execute(self._limits())
                await self._connection.execute(_SQL["make_staging"])
                self._staged_after_us = await self._connection.fetchval(_SQL["staged_after"])
            self._days.clear()
        return self._connection

    def _limits(self) -> str:
        """Return what the server is to end by itself; our own limits do not run while we stand still."""
        options = self._options
        return (
            f"SET idle_in_transaction_session_timeout = {options.stands_still_s * 1000:.0f};"
            f"SET statement_timeout = {options.timeout_s * 1000:.0f}"
        )

    async def _write_or_split(self, batch: Resolved) -> Written:
        connection = await self._connected()
        for _ in range(_ATTEMPTS):
            try:
                with database_faults():
                    return await self._transact(connection, batch)
            except asyncpg.UniqueViolationError:
                self._cautious = _CAUTIOUS_BATCHES
            except asyncpg.CheckViolationError as exc:
                if exc.constraint_name is not None:
                    return await self._split(batch, exc)
                self._days.clear()  # no constraint: retention has dropped a partition that we believed in
            except ROW_FAULTS as exc:
                return await self._split(batch, exc)
        raise DatabaseUnavailable("partitions go as often as they are made")

    async def _split(self, batch: Resolved, fault: Exception) -> Written:
        """Write the batch in halves until what the database refuses stands alone, and keep that apart."""
        rows, events = batch.rows, batch.events
        n = len(rows)
        if n + len(events) == 0:
            raise fault
        if n + len(events) == 1:
            log.warning("sink.row_refused", error=str(fault))
            letters = [*batch.dead_letters, _refused(batch, fault)]
            only_letters = replace(batch, rows=no_rows(), events=[], dead_letters=letters, places=None)
            return await self._write_or_split(only_letters)
        middle = (n + len(events)) // 2  # of rows and events in one sequence
        among_events = max(0, middle - n)
        # Messages count as delivered once all of the batch is stored.
        first = replace(_part(batch, slice(0, middle), slice(0, among_events)), deliveries=None)
        second = replace(_part(batch, slice(middle, n), slice(among_events, None)), dead_letters=[])
        written = [await self._write_or_split(half) for half in (first, second)]
        return Written(*map(sum, zip(*written, strict=True)))

    async def _transact(self, connection: asyncpg.Connection, batch: Resolved) -> Written:
        rows = in_key_order(batch.rows)
        await self._ensure_days(connection, batch)
        received_at = _EPOCH + timedelta(microseconds=batch.received_us)
        stored = 0
        async with connection.transaction():
            if self._staged_after_us is not None:
                rows, stored = await self._stage_late(connection, rows, batch.received_us)
            if len(rows):
                stored += await self._store_rows(connection, rows, batch.received_us)
            if batch.events:
                times, devices, datapoints, texts = zip(
                    *((e.time_us, e.device_id, e.datapoint_id, e.text) for e in batch.events), strict=True
                )
                await connection.execute(
                    _SQL["store_events"],
                    list(times),
                    list(devices),
                    list(datapoints),
                    list(texts),
                    received_at,
                )
            if batch.dead_letters:
                letters = [letter._replace(detail=_storable(letter.detail)) for letter in batch.dead_letters]
                columns = map(list, zip(*letters, strict=True))
                await connection.execute(_SQL["store_dead_letters"], *columns, received_at)
            await note_batch(connection, rows, batch.deliveries, batch.received_us)
        return Written(stored, len(batch.events), len(batch.dead_letters))

    async def _stage_late(
        self, connection: asyncpg.Connection, rows: Rows, received_us: int
    ) -> tuple[Rows, int]:
        """Set rows for compressed days apart, durably; return the others, and how many were set apart."""
        late = rows.time_us < received_us - (self._staged_after_us or 0)
        if not late.any():
            return rows, 0
        staged = rows.take(late)
        await copy_rows(connection, "late_readings", staged, received_us)
        return rows.take(~late), len(staged)

    async def _store_rows(self, connection: asyncpg.Connection, rows: Rows, received_us: int) -> int:
        """Store rows of distinct keys; return how many were not there yet."""
        if not self._cautious:
            await copy_rows(connection, "decoded_data", rows, received_us)
            return len(rows)
        await copy_rows(connection, "staging", rows, received_us)
        stored = _count(await connection.execute(_SQL["merge_staging"]))
        if stored == len(rows):
            self._cautious -= 1
        return stored

    async def _ensure_days(self, connection: asyncpg.Connection, batch: Resolved) -> None:
        days = set(np.unique(batch.rows.time_us // _DAY_US).tolist())
        days |= {event.time_us // _DAY_US for event in batch.events}
        if missing := days - self._days:
            dates = [_FIRST_DAY + timedelta(days=day) for day in sorted(missing)]
            await connection.fetchval(_SQL["ensure_partitions"], dates)
            self._days |= missing


def _storable(text: str) -> str:
    """Return `text` without what PostgreSQL refuses in one: NUL and halves of surrogate pairs."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _part(batch: Resolved, rows: slice, events: slice) -> Resolved:
    places = batch.places and batch.places.take(rows, events)
    return replace(batch, rows=batch.rows.take(rows), events=batch.events[events], places=places)


def _refused(batch: Resolved, fault: Exception) -> DeadLetter:
    """Return a dead letter for one row; the message it came from is not known any more at this stage.

    Where it was read from a record, that names the letter: read again, it is the same one.
    """
    source = None
    if batch.places is not None:
        source = batch.places.tell([*batch.places.rows, *batch.places.events][0])
    if batch.events:
        event = batch.events[0]
        what = f"device {event.device_id}, datapoint {event.datapoint_id}, time {event.time_us} us"
        return DeadLetter(
            b"", event.text.encode("utf-8", "backslashreplace"), _REFUSED, f"{what}: {fault}", source
        )
    rows = batch.rows
    what = f"device {rows.device_id[0]}, datapoint {rows.datapoint_id[0]}, time {rows.time_us[0]} us"
    return DeadLetter(b"", repr(float(rows.value[0])).encode(), _REFUSED, f"{what}: {fault}", source)


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
