"""A sink as the contract describes it, and a brute-force rollup to compare with."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from iotistic.telemetry.storage.settings import LATE_AFTER_S


class Row(NamedTuple):
    timestamp: datetime
    device_id: int
    datapoint_id: int
    value: float


def minute_of(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


class BatchSink:
    """Stores rows and markers in one transaction; `now` decides what is late."""

    def __init__(self, connection) -> None:
        self.connection = connection

    async def store(self, rows: Iterable[Row], *, now: datetime) -> None:
        async with self.connection.transaction():
            await self.write(rows, now=now)

    async def write(self, rows: Iterable[Row], *, now: datetime) -> None:
        rows = list(rows)
        settled = now - timedelta(seconds=LATE_AFTER_S + 60)
        days = {row.timestamp.astimezone(UTC).date() for row in rows}
        minutes = {(minute_of(row.timestamp), row.device_id) for row in rows}
        late = {(minute, device_id) for minute, device_id in minutes if minute < settled}
        fresh = {(minute, None) for minute, _ in minutes if minute >= settled}
        await self.connection.execute("SELECT ensure_partitions($1)", sorted(days))
        await self.connection.executemany(
            'INSERT INTO decoded_data ("timestamp", device_id, datapoint_id, value)'
            " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            rows,
        )
        await self.connection.executemany("INSERT INTO rollup_pending VALUES ($1, $2)", [*late, *fresh])


BRUTE_FORCE = """
SELECT date_trunc($1, "timestamp", 'UTC') AS bucket, device_id, datapoint_id,
       min(value), max(value), avg(value::numeric)::float8 AS avg, count(*) AS count
FROM decoded_data GROUP BY 1, 2, 3
"""


def by_key(records):
    return {
        (record["bucket"], record["device_id"], record["datapoint_id"]): (
            record["min"],
            record["max"],
            record["avg"],
            record["count"],
        )
        for record in records
    }


def nearly(figures):
    """The same figures, with a mean that may differ by rounding: to stand on the right of ==."""
    return {
        key: (low, high, pytest.approx(mean, rel=1e-9, abs=1e-9), count)
        for key, (low, high, mean, count) in figures.items()
    }


async def eventually(query, connection, *, within_s=15):
    """Wait until a query answers true."""
    async with asyncio.timeout(within_s):
        while True:
            if await connection.fetchval(query):
                return
            await asyncio.sleep(0.02)
