"""Keeps decoded_1m and decoded_1h equal to what decoded_data says, incrementally.

    sink: rows + markers --one transaction-->  rollup_pending  --roller-->  decoded_1m + hour markers
                                               rollup_pending_hours  --roller-->  decoded_1h

Why it is right, under READ COMMITTED:
- A bucket is replaced by a full recompute, never incremented: doing it twice changes nothing.
- A round takes markers in one statement and reads the rows in a later one of the same transaction. The
  sink commits rows and markers together, so whoever sees a marker sees its rows. A sink that commits
  after our read leaves a marker that we did not see and therefore did not delete: the bucket is due again.
- The lock on the row of rollup_state is taken before anything is read. So rounds of several processes
  follow each other, and no recompute made from an older snapshot can overwrite a newer one. A process
  that finds the row locked does nothing (SKIP LOCKED): the others stand by.
- Killed at any point, the transaction rolls back: the markers are still there.
- Retention raises `raw_kept_from` under the same lock before it drops rows, and markers older than that
  are discarded: a late row into a dropped day must not replace the rollup of the whole day.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from iotistic.telemetry.storage import statements
from iotistic.telemetry.storage.metrics import MARKERS_DISCARDED, ROLL_SECONDS
from iotistic.telemetry.storage.settings import LATE_AFTER_S, RollupSettings
from iotistic.telemetry.storage.statements import HOURS, MINUTES, LevelStatements
from iotistic.telemetry.storage.work import Mark, PartitionWork, arrange, day_of, month_of

log = structlog.get_logger()

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_CLOSED_AFTER = timedelta(seconds=5)
_SETTLED_AFTER = timedelta(seconds=LATE_AFTER_S) + _CLOSED_AFTER
_HOUR_MARKS_PER_ROUND = 200
_CAREFUL_PAIRS = 50


@dataclass(frozen=True, slots=True)
class Round:
    """What one transaction did. `marks` counts distinct (bucket, device) pairs, `stored` changed rows."""

    marks: int = 0
    stored: int = 0
    discarded: int = 0
    busy: bool = False

    def plus(self, other: "Round") -> "Round":
        """Return the sum of both."""
        return Round(
            self.marks + other.marks,
            self.stored + other.stored,
            self.discarded + other.discarded,
            self.busy or other.busy,
        )


@dataclass(frozen=True, slots=True)
class _State:
    rolled_until: datetime
    hours_rolled_until: datetime
    raw_kept_from: datetime
    minutes_kept_from: datetime


class Roller:
    """Rolls what is due at a given time. Any number of processes may have one."""

    def __init__(self, pool: asyncpg.Pool, settings: RollupSettings) -> None:
        self._pool = pool
        self._settings = settings
        self.careful = False
        """Take the least there is to take: set it after a failure, which too much work may have caused."""

    async def roll_minutes(self, now: datetime) -> Round:
        """Take one round of markers and recompute their minutes; `now` is aware, and decides what has closed.

        Minutes that closed five seconds ago are rolled at once, and once more after their stragglers.
        """
        minutes, pairs = self._caps()
        async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            state = await self._lock(connection)
            if state is None:
                return Round(busy=True)
            closed_until = _floor(now - _CLOSED_AFTER, _MINUTE)
            last_closed = closed_until - _MINUTE
            last_settled = _floor(now - _SETTLED_AFTER, _MINUTE) - _MINUTE
            rows = await connection.fetch(
                statements.TAKE_FRESH, last_closed, state.rolled_until, last_settled, minutes
            )
            rows += await connection.fetch(statements.TAKE_LATE, pairs)
            marks, discarded = _split(rows, state.raw_kept_from)
            work = arrange(marks, width=_MINUTE, partition_of=day_of)
            done = await self._work(connection, MINUTES, work)
            await connection.execute(statements.ADVANCE_MINUTES, closed_until)
        return replace(done, marks=len(marks), discarded=discarded)

    async def roll_hours(self, now: datetime) -> Round:
        """Take one round of hours that closed and settled, and recompute them from their minutes."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            state = await self._lock(connection)
            if state is None:
                return Round(busy=True)
            settled_until = min(_floor(now - _SETTLED_AFTER, _HOUR), _floor(state.rolled_until, _HOUR))
            rows = await connection.fetch(statements.TAKE_HOURS, settled_until - _HOUR, _HOUR_MARKS_PER_ROUND)
            marks, discarded = _split(rows, state.minutes_kept_from)
            work = arrange(marks, width=_HOUR, partition_of=month_of)
            done = await self._work(connection, HOURS, work)
            await connection.execute(statements.ADVANCE_HOURS, settled_until)
        return replace(done, marks=len(marks), discarded=discarded)

    def _caps(self) -> tuple[int, int]:
        limits = self._settings.rollup_minutes_per_round, self._settings.rollup_late_per_round
        return (1, min(_CAREFUL_PAIRS, limits[1])) if self.careful else limits

    async def _lock(self, connection: asyncpg.Connection) -> _State | None:
        await connection.execute(statements.SESSION)
        row = await connection.fetchrow(statements.LOCK_STATE)
        return _State(**row) if row else None

    async def _work(
        self, connection: asyncpg.Connection, level: LevelStatements, work: list[PartitionWork]
    ) -> Round:
        starts = [piece.partition.start for piece in work]
        await connection.execute("SELECT ensure_rollup_partitions($1)", starts)
        stored = 0
        for piece in work:
            bounds = piece.partition.start, piece.partition.end
            for span in piece.full:
                stored += await self._store(connection, level.roll_all, span.start, span.end, *bounds)
            if piece.devices:
                columns = (
                    [device_id for device_id, _ in piece.devices],
                    [span.start for _, span in piece.devices],
                    [span.end for _, span in piece.devices],
                )
                stored += await self._store(connection, level.roll_devices, *columns, *bounds)
        return Round(stored=stored)

    async def _store(self, connection: asyncpg.Connection, texts: tuple[str, str], *args: object) -> int:
        fast, safe = texts
        timeout_s = self._settings.rollup_timeout_s
        try:
            async with connection.transaction():
                return int(await connection.fetchval(fast, *args, timeout=timeout_s))
        except asyncpg.NumericValueOutOfRangeError:
            log.warning("rollup.sum_overflowed")
            return int(await connection.fetchval(safe, *args, timeout=timeout_s))


async def roll_due(
    roller: Roller,
    now: datetime,
    *,
    go_on: Callable[[], bool] = lambda: True,
    on_done: Callable[[], None] = lambda: None,
    rounds: int = 1000,
) -> Round:
    """Roll until nothing is due at `now`, `go_on` says no, or each level had `rounds` transactions.

    Calls `on_done` after each transaction. Returns the sum of what was done.
    """
    total = Round()
    for level, roll in (("1m", roller.roll_minutes), ("1h", roller.roll_hours)):
        for _ in range(rounds):
            if not go_on():
                return total
            started = time.perf_counter()
            done = await roll(now)
            on_done()
            total = total.plus(done)
            if done.busy:
                return total
            if not done.marks + done.discarded:
                break
            ROLL_SECONDS.labels(level).observe(time.perf_counter() - started)
            MARKERS_DISCARDED.labels(level).inc(done.discarded)
    return total


def _split(rows: list[asyncpg.Record], kept_from: datetime) -> tuple[list[Mark], int]:
    marks = [Mark(row["bucket"], row["device_id"]) for row in rows if row["bucket"] >= kept_from]
    return marks, len(rows) - len(marks)


def _floor(instant: datetime, width: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (instant - epoch) // width * width
