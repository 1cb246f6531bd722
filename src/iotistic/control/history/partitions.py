"""Daily partitions of histories."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")

METRICS, PROCESSES, LOGS = "device_metrics", "device_processes", "device_logs"
LOG_ARRIVALS = "device_log_arrivals"
"""Which lines came together; kept as long as the lines."""
HISTORIES = (METRICS, PROCESSES, LOGS, LOG_ARRIVALS)
_DAYS_AHEAD = 2


def day_of(at: datetime) -> date:
    """Return the UTC day that a time lies in."""
    return at.astimezone(UTC).date()


def days_ahead(now: datetime) -> list[date]:
    """Return the days whose partitions should stand: from yesterday on."""
    return [day_of(now) + timedelta(days=offset) for offset in range(-1, _DAYS_AHEAD + 1)]


async def ensure(db: Any, parent: str, days: Iterable[date]) -> int:
    """Make the partitions of days; return how many are new."""
    return int(
        await db.fetchval("SELECT ensure_device_partitions($1, $2::date[])", parent, sorted(set(days)))
    )


async def inserting(
    pool: asyncpg.Pool, parents: Sequence[str], times: Iterable[datetime], insert: Callable[[], Awaitable[T]]
) -> T:
    """Run an insert, once more when partitions were missing: nobody has to have been there at midnight."""
    try:
        return await insert()
    except asyncpg.CheckViolationError as exc:
        if "no partition" not in str(exc):
            raise
    days = {day_of(at) for at in times}
    for parent in parents:
        await ensure(pool, parent, days)
    return await insert()
