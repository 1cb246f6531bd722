"""Merges readings for compressed days, which the sink sets apart, into the days they belong to.

To add a row to a compressed chunk unpacks the segment it belongs to. A merge takes all that came for a day
at once, in one transaction with the markers for the roller: killed at any point, everything is as before.
Where nothing is compressed, the table is empty and this costs one look at it.
"""

import asyncpg

_DAYS = "SELECT DISTINCT (\"timestamp\" AT TIME ZONE 'UTC')::date AS day FROM late_readings ORDER BY 1"


async def merge_late(pool: asyncpg.Pool, *, timeout_s: float) -> int:
    """Merge what waits, day by day; return how many readings were not there yet."""
    merged = 0
    async with pool.acquire() as connection:
        for row in await connection.fetch(_DAYS):
            merged += await connection.fetchval(
                "SELECT merge_late_readings($1)", row["day"], timeout=timeout_s
            )
    return merged
