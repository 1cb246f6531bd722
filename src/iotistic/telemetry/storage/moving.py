"""Moves an installation's readings from plain partitions into a hypertable, while readings come in.

    begin   decoded_data_next, an empty hypertable; from here on what is stored in decoded_data goes there too
    copy    day by day, a slice of pages at a time, ON CONFLICT DO NOTHING; counted, then noted as copied
    finish  both tables change names in one transaction; the old one is decoded_data_plain
    clear   its days are dropped, one by one

Why no row is lost, and none is missed meanwhile:
- The trigger stands before the first row is copied: making it waits for every transaction that writes. So a
  row is there when its day is copied, or the trigger writes it, in the transaction that stores it.
- A day counts as copied when both tables have as many rows of it in one snapshot.
- Queries and rollups read decoded_data, which is complete at any moment.
- Each step looks at what is there, so that after a kill the same command goes on; the slices of the day in
  hand are copied again, which changes nothing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import asyncpg

from iotistic.kernel.errors import Conflict, Unavailable
from iotistic.kernel.postgres.pool import database_errors
from iotistic.telemetry.storage.store import ReadingsStore, StoreKind, read_store

_LOCK_KEY = 0x696F74_6D6F76  # "iot" "mov"
_LOCK_WITHIN = "60s"
_ATTEMPTS = 240
_PAUSE_S = 0.5
_PAGES_PER_SLICE = 4096  # about 500,000 rows: a few seconds

# The table names come from the database's own catalogue, quoted by it.
_COPY_SLICE = """
INSERT INTO decoded_data_next SELECT * FROM {relation} WHERE ctid >= $1::text::tid AND ctid < $2::text::tid
ORDER BY device_id, datapoint_id, "timestamp" ON CONFLICT DO NOTHING
"""
# A chunk's first row makes the chunk, under a lock that sinks wait for: so it gets a transaction of its own.
_MAKE_CHUNK = "INSERT INTO decoded_data_next SELECT * FROM {relation} LIMIT 1 ON CONFLICT DO NOTHING"
_COUNT = """
SELECT (SELECT count(*) FROM {relation}) AS plain,
       (SELECT count(*) FROM decoded_data_next WHERE "timestamp" >= $1 AND "timestamp" < $2) AS moved
"""
_DAYS_LEFT = """
SELECT relation::text, lower_bound, upper_bound, pg_relation_size(relation) / 8192 AS pages
FROM partitions_of('decoded_data')
WHERE (lower_bound AT TIME ZONE 'UTC')::date NOT IN (SELECT day FROM decoded_data_moved)
ORDER BY lower_bound
"""
_OLD_DAYS = "SELECT relation::text FROM partitions_of('decoded_data_plain') ORDER BY lower_bound"


class TimescaleNotOffered(Conflict):
    """This server has no TimescaleDB."""

    code = "storage.timescale_not_offered"


class MoveRunning(Conflict):
    """Another process is moving this database's readings."""

    code = "storage.move_running"


class MoveBusy(Unavailable):
    """The table of readings was in use without a pause."""

    code = "storage.move_busy"


class MoveIncomplete(Conflict):
    """A day has not as many rows on both sides, so the move stopped; nothing was lost."""

    code = "storage.move_incomplete"


class NothingToAbandon(Conflict):
    """No move is under way."""

    code = "storage.nothing_to_abandon"


@dataclass(frozen=True, slots=True)
class Moved:
    """What one run did: days and rows copied, and where readings are now."""

    store: ReadingsStore
    days: int
    rows: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Day:
    relation: str
    lower_bound: datetime
    upper_bound: datetime
    pages: int

    @property
    def date(self) -> date:
        return self.lower_bound.astimezone(UTC).date()


class Mover:
    """Moves the readings of one database over a connection of its own; `tell` gets a line per step."""

    def __init__(self, connection: asyncpg.Connection, tell: Callable[[str], None]) -> None:
        self._connection = connection
        self._tell = tell

    async def run(self) -> Moved:
        """Begin, or go on where an earlier run ended. Does nothing when all is done.

        Raises TimescaleNotOffered, MoveRunning, MoveBusy, MoveIncomplete, DatabaseUnavailable.
        """
        started = time.monotonic()
        with database_errors():
            await self._lock()
            store = await read_store(self._connection)
            days = rows = 0
            if store.kind is StoreKind.PLAIN:
                days, rows = await self._move(store)
            await self._clear()
            # Rights to compress may have come since: an Apache edition that became a full one.
            await self._connection.execute("SELECT compress_readings()")
            store = await read_store(self._connection)
        return Moved(store, days, rows, round(time.monotonic() - started, 3))

    async def abandon(self) -> None:
        """Undo a move that did not finish: readings stay in plain partitions. Raises NothingToAbandon."""
        with database_errors():
            await self._lock()
            store = await read_store(self._connection)
            if store.kind is not StoreKind.PLAIN or not store.moving:
                raise NothingToAbandon(f"no move is under way: readings are in {store}")
            await self._patiently("SELECT abandon_move()")

    async def _lock(self) -> None:
        # The connection of a run that was killed holds the lock until its statement ends.
        await self._connection.execute(f"SET lock_timeout = '{_LOCK_WITHIN}'")
        try:
            await self._connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY)
        except asyncpg.LockNotAvailableError as exc:
            raise MoveRunning from exc
        await self._connection.execute("RESET lock_timeout")

    async def _move(self, store: ReadingsStore) -> tuple[int, int]:
        if store.offered is None:
            raise TimescaleNotOffered(
                hint="install the extension and add timescaledb to shared_preload_libraries; "
                "the embedded server has none, so DATABASE_URL must name another"
            )
        try:
            await self._connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except asyncpg.InsufficientPrivilegeError as exc:
            raise TimescaleNotOffered(
                f"this user may not use TimescaleDB: {exc.message}",
                hint="run as a superuser, in this database: CREATE EXTENSION timescaledb",
            ) from exc
        if not store.moving:
            self._tell(f"beginning: a hypertable beside the readings, TimescaleDB {store.offered}")
            await self._patiently("SELECT begin_move()")
        days = rows = 0
        while left := [_Day(**row) for row in await self._connection.fetch(_DAYS_LEFT)]:
            rows += await self._copy_day(left[0], left=len(left))
            days += 1
        self._tell("finishing: the hypertable takes the place of the readings")
        await self._patiently("SELECT finish_move()")
        return days, rows

    async def _copy_day(self, day: _Day, *, left: int) -> int:
        """Copy one day and note it; return its rows. A day that retention drops meanwhile has none."""
        try:
            await self._connection.execute(_MAKE_CHUNK.format(relation=day.relation))
            for first in range(0, day.pages, _PAGES_PER_SLICE):
                await self._copy_slice(day, first)
                share = min(1.0, (first + _PAGES_PER_SLICE) / day.pages)
                self._tell(f"copying {day.date}: {share:.0%}, {left} days to go")
            counted = await self._connection.fetchrow(
                _COUNT.format(relation=day.relation), day.lower_bound, day.upper_bound
            )
        except asyncpg.UndefinedTableError:
            return 0
        if counted is None or counted["plain"] != counted["moved"]:
            raise MoveIncomplete(f"{day.date} has {counted} rows", hint="run it again, or --abandon it")
        await self._connection.execute(
            "INSERT INTO decoded_data_moved VALUES ($1, $2) ON CONFLICT DO NOTHING",
            day.date,
            counted["plain"],
        )
        self._tell(f"copied {day.date}: {counted['plain']:,} readings")
        return int(counted["plain"])

    async def _copy_slice(self, day: _Day, first: int) -> None:
        async with self._connection.transaction():
            # Durable with the note of the day at the latest.
            await self._connection.execute("SET LOCAL synchronous_commit = off")
            await self._connection.execute(
                _COPY_SLICE.format(relation=day.relation), f"({first},0)", f"({first + _PAGES_PER_SLICE},0)"
            )

    async def _clear(self) -> None:
        """Drop what is left of the plain table, which nobody reads any more."""
        days = await self._connection.fetch(_OLD_DAYS)
        for row in days:
            await self._connection.execute(f"DROP TABLE {row['relation']}")
        await self._connection.execute("DROP TABLE IF EXISTS decoded_data_plain, decoded_data_moved")
        if days:
            self._tell(f"dropped {len(days)} plain partitions")

    async def _patiently(self, statement: str) -> None:
        # Its lock makes later readers and writers queue: so it waits shortly, lets them through, tries again.
        for _ in range(_ATTEMPTS):
            try:
                async with self._connection.transaction():
                    await self._connection.execute("SET LOCAL lock_timeout = '250ms'")
                    await self._connection.execute(statement)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(_PAUSE_S)
            else:
                return
        raise MoveBusy(retry_after_s=60, hint="run it again; long readers show in pg_stat_activity")
