"""Rows as PostgreSQL's binary COPY, built by numpy: no Python object per row."""

from collections.abc import AsyncIterator

import asyncpg
import numpy as np

from iotistic.telemetry.model import Rows

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no header extension
TRAILER = b"\xff\xff"
POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01, where PostgreSQL's timestamps count from
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_bytes", ">i4"),
        ("time", ">i8"),
        ("device_bytes", ">i4"),
        ("device", ">i4"),
        ("datapoint_bytes", ">i4"),
        ("datapoint", ">i4"),
        ("value_bytes", ">i4"),
        ("value", ">f8"),
        ("received_bytes", ">i4"),
        ("received", ">i8"),
    ]
)

_DAY_US = 86_400_000_000

COLUMNS = ("timestamp", "device_id", "datapoint_id", "value", "received_at")


def encode_rows(rows: Rows, received_us: int) -> bytes:
    """Return COPY BINARY data of COLUMNS."""
    table = np.empty(len(rows), _ROW)
    table["fields"] = len(COLUMNS)
    table["time_bytes"] = table["value_bytes"] = table["received_bytes"] = 8
    table["device_bytes"] = table["datapoint_bytes"] = 4
    table["time"] = rows.time_us - POSTGRES_EPOCH_US
    table["received"] = received_us - POSTGRES_EPOCH_US
    table["device"] = rows.device_id
    table["datapoint"] = rows.datapoint_id
    table["value"] = rows.value
    return b"".join((HEADER, table.tobytes(), TRAILER))


async def copy_rows(connection: asyncpg.Connection, table: str, rows: Rows, received_us: int) -> None:
    """COPY rows into `table`, which has COLUMNS."""
    data = encode_rows(rows, received_us)
    await connection.copy_to_table(table, source=chunks(data), columns=COLUMNS, format="binary")


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    """Give all of `data`, as the driver wants it."""
    yield data


def in_key_order(rows: Rows) -> Rows:
    """Return the rows sorted by the table's key, and of those that share a key only the first to arrive.

    The order makes the index about twice as cheap to extend. Days come one after the other, for each is a partition
    and COPY writes partition by partition: two who store the same rows must not meet them in opposite order.
    """
    keys = (rows.time_us, rows.datapoint_id, rows.device_id)
    days = rows.time_us // _DAY_US
    several = len(days) > 0 and days.min() != days.max()
    ordered = rows.take(np.lexsort((*keys, days) if several else keys))
    if len(ordered) <= 1:
        return ordered
    repeats = (
        (np.diff(ordered.time_us) == 0)
        & (np.diff(ordered.datapoint_id) == 0)
        & (np.diff(ordered.device_id) == 0)
    )
    return ordered.take(np.concatenate(([True], ~repeats))) if repeats.any() else ordered
