"""Series of a fleet's own readings, the newest of each, straight from the database."""

from datetime import datetime

import asyncpg

from iotistic.kernel.errors import NotFound
from iotistic.kernel.postgres.pool import database_errors

MOST_SERIES = 200
MOST_VALUES = 20_000

_CHOSEN = """
    SELECT s.device_id, s.datapoint_id, d.devicename || '/' || p.label AS name
    FROM device_datapoints s
    JOIN devices d ON d.id = s.device_id
    JOIN datapoints p ON p.id = s.datapoint_id
    WHERE ($1::text IS NULL OR $1 IN (d.id::text, d.macaddress, d.uuid::text, d.externalkey, d.devicename))
      AND ($2::text IS NULL OR p.label = $2)
    ORDER BY s.device_id, s.datapoint_id
    LIMIT $3
"""
_NEWEST = """
    SELECT value
    FROM (SELECT "timestamp", value
          FROM decoded_data
          WHERE device_id = $1 AND datapoint_id = $2 AND "timestamp" >= $3
          ORDER BY "timestamp" DESC
          LIMIT $4) AS newest
    ORDER BY "timestamp"
"""


class NoReadings(NotFound):
    """No readings fit."""

    code = "train.no_readings"


async def read_readings(
    connection: asyncpg.Connection, *, device: str | None, metric: str | None, since: datetime
) -> dict[str, list[float]]:
    """Return series by name, of one device or all, of one metric (label) or all.

    At most 200 series with at most 20,000 values each. Raises NoReadings, DatabaseUnavailable.
    """
    found: dict[str, list[float]] = {}
    with database_errors():
        for row in await connection.fetch(_CHOSEN, device, metric, MOST_SERIES):
            values = await connection.fetch(
                _NEWEST, row["device_id"], row["datapoint_id"], since, MOST_VALUES
            )
            if values:
                found[f"{row['name']} ({row['device_id']})"] = [one["value"] for one in values]
    if not found:
        raise NoReadings(hint="see `iotistic devices` for their names, and choose an earlier --since")
    return found
