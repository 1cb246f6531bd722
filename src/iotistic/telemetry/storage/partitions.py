"""Partitions: made ahead of time, dropped when all of their rows are too old, analysed when their day is over.

The database's functions hide what a partition of decoded_data is, a plain one or a chunk of a hypertable:
`ensure_partitions`, `partitions_of`, `drop_partition`. Names and bounds are the same either way.

Days, months and years are those of UTC. The sink makes the partitions of days far away by itself; what
is made here only keeps that work out of its way at midnight.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum, auto

import asyncpg

from iotistic.telemetry.storage.work import day_of

_DAYS_BEHIND = 1
_DAYS_AHEAD = 3
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"
_ANALYZE_WITHIN = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of `table`, with the rows from `lower_bound` up to but not including `upper_bound`."""

    table: str
    name: str
    lower_bound: datetime
    upper_bound: datetime


class DropResult(Enum):
    """What became of a partition that is too old."""

    DROPPED = auto()
    LOCKED = auto()
    NOT_ROLLED_YET = auto()


def days_ahead(now: datetime) -> list[date]:
    """Return the UTC days whose partitions should stand at `now`: yesterday to three days on."""
    today = day_of(now).start.date()
    return [today + timedelta(days=offset) for offset in range(-_DAYS_BEHIND, _DAYS_AHEAD + 1)]


async def make_ahead(connection: asyncpg.Connection, now: datetime) -> int:
    """Make the partitions of readings, events and rollups that will be needed soon; return how many are new."""
    made = await connection.fetchval("SELECT ensure_partitions($1)", days_ahead(now))
    instants = [day_of(now).start + timedelta(days=offset) for offset in (-_DAYS_BEHIND, 0, _DAYS_AHEAD)]
    return int(made + await connection.fetchval("SELECT ensure_rollup_partitions($1)", instants))


async def partitions_of(connection: asyncpg.Connection, table: str) -> list[Partition]:
    """Return the partitions of `table`, oldest first."""
    rows = await connection.fetch(
        "SELECT name, lower_bound, upper_bound FROM partitions_of($1) ORDER BY lower_bound", table
    )
    return [Partition(table, row["name"], row["lower_bound"], row["upper_bound"]) for row in rows]


# What must be rolled before a partition may go, and what its going raises. A marker below the horizon
# belongs to a day that was dropped before: the roller discards it.
_UNROLLED = {
    "decoded_data": """
        SELECT EXISTS (SELECT FROM rollup_pending, rollup_state
                       WHERE minute >= greatest($1, raw_kept_from) AND minute < $2)""",
    "decoded_1m": """
        SELECT EXISTS (SELECT FROM rollup_pending_hours, rollup_state
                       WHERE hour >= greatest($1, minutes_kept_from) AND hour < $2)""",
}
_RAISE_HORIZON = {
    "decoded_data": "UPDATE rollup_state SET raw_kept_from = greatest(raw_kept_from, $1)",
    "decoded_1m": "UPDATE rollup_state SET minutes_kept_from = greatest(minutes_kept_from, $1)",
}


async def drop(connection: asyncpg.Connection, partition: Partition) -> DropResult:
    """Drop a partition in one transaction, unless readers hold it or its rows wait to be rolled.

    The lock on rollup_state comes first, as in the roller: a roller at work finishes, the next one knows.
    """
    bounds = partition.lower_bound, partition.upper_bound
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_LOCK_TIMEOUT)
            await connection.execute("SELECT FROM rollup_state FOR UPDATE")
            unrolled = _UNROLLED.get(partition.table)
            if unrolled and await connection.fetchval(unrolled, *bounds):
                return DropResult.NOT_ROLLED_YET
            if raise_horizon := _RAISE_HORIZON.get(partition.table):
                await connection.execute(raise_horizon, partition.upper_bound)
            await connection.execute("SELECT drop_partition($1, $2)", partition.table, partition.name)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return DropResult.LOCKED
    return DropResult.DROPPED


async def analyze_closed(connection: asyncpg.Connection, now: datetime) -> list[str]:
    """Give the planner figures of the days that ended lately and were not analysed since; return their names."""
    statements = await connection.fetch(
        """
        SELECT name, format('ANALYZE %s', relation) AS statement
        FROM unnest(ARRAY['decoded_data', 'telemetry_events']) parent, partitions_of(parent)
        WHERE upper_bound <= $1 AND upper_bound > $2 AND (analyzed_at IS NULL OR analyzed_at < upper_bound)
        """,
        now,
        now - _ANALYZE_WITHIN,
    )
    for row in statements:
        await connection.execute(row["statement"])
    return [row["name"] for row in statements]
