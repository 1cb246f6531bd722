"""Retention: whole partitions go when every row in them is older than the limit; dead letters go in batches."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import structlog

from iotistic.telemetry.storage import partitions
from iotistic.telemetry.storage.metrics import (
    DEAD_LETTERS_DELETED,
    PARTITIONS_DROPPED,
    PARTITIONS_MADE,
    PARTITIONS_POSTPONED,
)
from iotistic.telemetry.storage.partitions import DropResult, Partition
from iotistic.telemetry.storage.settings import RetentionSettings

log = structlog.get_logger()

_DROP_ATTEMPTS = 4
_DROP_PAUSE_S = 0.5
_LETTERS_PER_BATCH = 5000


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """What one housekeeping did; partitions by name."""

    made: int = 0
    dropped: list[str] = field(default_factory=list[str])
    postponed: list[str] = field(default_factory=list[str])
    analyzed: list[str] = field(default_factory=list[str])
    dead_letters: int = 0


async def keep_house(pool: asyncpg.Pool, settings: RetentionSettings, now: datetime) -> Housekeeping:
    """Make partitions ahead, drop those that are too old at `now` (aware), analyse those that closed."""
    async with pool.acquire() as connection:
        made = await partitions.make_ahead(connection, now)
        PARTITIONS_MADE.inc(made)
        dropped, postponed = await _drop_expired(connection, settings, now)
        analyzed = await partitions.analyze_closed(connection, now)
        letters = await _delete_dead_letters(connection, settings, now)
    return Housekeeping(made, dropped, postponed, analyzed, letters)


async def expired(
    connection: asyncpg.Connection, settings: RetentionSettings, now: datetime
) -> list[Partition]:
    """Return the partitions in which every row is older than its limit at `now`."""
    limits = {
        "decoded_data": settings.retention_raw_days,
        "telemetry_events": settings.retention_raw_days,
        "decoded_1m": settings.retention_1m_days,
        "decoded_1h": settings.retention_1h_days,
    }
    found: list[Partition] = []
    for table, days in limits.items():
        if (age := settings.keeps(days)) is not None:
            standing = await partitions.partitions_of(connection, table)
            found += [partition for partition in standing if partition.upper_bound <= now - age]
    return found


async def _drop_expired(
    connection: asyncpg.Connection, settings: RetentionSettings, now: datetime
) -> tuple[list[str], list[str]]:
    dropped: list[str] = []
    postponed: list[str] = []
    for partition in await expired(connection, settings, now):
        result = await _drop_patiently(connection, partition)
        if result is DropResult.DROPPED:
            log.info("partition.dropped", partition=partition.name)
            PARTITIONS_DROPPED.labels(partition.table).inc()
            dropped.append(partition.name)
        else:
            log.warning("partition.postponed", partition=partition.name, reason=result.name.lower())
            PARTITIONS_POSTPONED.labels(partition.table).inc()
            postponed.append(partition.name)
    return dropped, postponed


async def _drop_patiently(connection: asyncpg.Connection, partition: Partition) -> DropResult:
    # A waiting drop makes every later reader and writer of the table wait behind it: so it waits
    # shortly, lets them through, and tries again.
    for _ in range(_DROP_ATTEMPTS - 1):
        result = await partitions.drop(connection, partition)
        if result is not DropResult.LOCKED:
            return result
        await asyncio.sleep(_DROP_PAUSE_S)
    return await partitions.drop(connection, partition)


async def _delete_dead_letters(
    connection: asyncpg.Connection, settings: RetentionSettings, now: datetime
) -> int:
    age = settings.keeps(settings.retention_dead_letters_days)
    if age is None:
        return 0
    total = 0
    # Ids follow the time of receipt, so the oldest are looked at and a young batch ends the search.
    while deleted := await connection.fetchval(
        """
        WITH gone AS (
            DELETE FROM dead_letters
            WHERE id IN (SELECT id FROM dead_letters ORDER BY id LIMIT $2) AND received_at < $1
            RETURNING 1)
        SELECT count(*) FROM gone
        """,
        now - age,
        _LETTERS_PER_BATCH,
    ):
        total += deleted
    DEAD_LETTERS_DELETED.inc(total)
    return total
