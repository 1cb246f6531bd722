"""How far the rollups are exact, for those who answer from them."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from iotistic.telemetry.storage.levels import RollupLevel
from iotistic.telemetry.storage.work import Span


@dataclass(frozen=True, slots=True)
class Watermark:
    """Buckets that end at or before `rolled_until` (`hours_rolled_until`) are exact unless `stale_buckets` names them.

    Readings before `raw_kept_from` and minutes before `minutes_kept_from` were dropped by retention.
    """

    rolled_until: datetime
    hours_rolled_until: datetime
    raw_kept_from: datetime
    minutes_kept_from: datetime

    def until(self, level: RollupLevel, *, now: datetime) -> datetime:
        """Return the end of what `level` can answer; take the rest from the next finer level."""
        return {RollupLevel.MINUTE: self.rolled_until, RollupLevel.HOUR: self.hours_rolled_until}.get(
            level, now
        )


async def read_watermark(connection: asyncpg.Connection | asyncpg.Pool) -> Watermark:
    """Read how far everything is rolled."""
    row = await connection.fetchrow(
        "SELECT rolled_until, hours_rolled_until, raw_kept_from, minutes_kept_from FROM rollup_state"
    )
    if row is None:
        raise LookupError("rollup_state has lost its row")
    return Watermark(**row)


# $1 device, $2 up to $3. A minute that waits makes its hour stale too.
_STALE = {
    RollupLevel.MINUTE: """
        SELECT DISTINCT minute AS bucket FROM rollup_pending
        WHERE minute >= $2 AND minute < $3 AND (device_id IS NULL OR device_id = $1) ORDER BY 1""",
    RollupLevel.HOUR: """
        SELECT date_trunc('hour', minute, 'UTC') AS bucket FROM rollup_pending
        WHERE minute >= $2 AND minute < $3 AND (device_id IS NULL OR device_id = $1)
        UNION
        SELECT hour FROM rollup_pending_hours
        WHERE hour >= $2 AND hour < $3 AND (device_id IS NULL OR device_id = $1) ORDER BY 1""",
}


async def stale_buckets(
    connection: asyncpg.Connection | asyncpg.Pool, level: RollupLevel, device_id: int, span: Span
) -> list[datetime]:
    """Return the starts of the buckets of a device inside `span` that wait to be rolled again.

    With late rows under way, these are the buckets in which a rollup is some seconds behind. Read in one
    transaction (REPEATABLE READ) with the rollups, the answer is exact.
    """
    if level is RollupLevel.RAW:
        return []
    rows = await connection.fetch(_STALE[level], device_id, span.start, span.end)
    return [row["bucket"] for row in rows]
