"""What a batch leaves for others: the minutes whose rollups are out of date, and the runs that the ledger counts.

Mostly both in one statement. Flat out, a worker writes a thousand batches a second of some hundred messages, and
each statement more costs it and the server as much as dozens of rows.
"""

import asyncpg
import numpy as np

from iotistic.kernel.postgres.queries import load_queries
from iotistic.telemetry.model import Deliveries, Rows
from iotistic.telemetry.sink.delivered import copy_runs, find_runs, runs_as_text
from iotistic.telemetry.storage.settings import LATE_AFTER_S

_SQL = load_queries("iotistic.telemetry.sink")
_MINUTE_US = 60_000_000

LATE_AFTER_US = LATE_AFTER_S * 1_000_000
"""A minute that closed longer ago than this is rolled up again for the late rows' devices only."""


async def note_batch(
    connection: asyncpg.Connection, rows: Rows, deliveries: Deliveries | None, received_us: int
) -> None:
    """Note a batch, within the transaction that is under way."""
    runs = find_runs(deliveries) if deliveries is not None and len(deliveries) else None
    texts = None if runs is None else runs_as_text(runs)
    if len(rows) and texts is not None:
        marks = rollup_marks(rows, received_us)
        await connection.execute(_SQL["mark_and_note"], *marks, received_us, *texts)
        return
    if len(rows):
        await connection.execute(_SQL["mark_rollups"], *rollup_marks(rows, received_us))
    if texts is not None:
        await connection.execute(_SQL["note_runs"], received_us, *texts)
    elif runs is not None:
        await copy_runs(connection, runs, received_us)


def rollup_marks(rows: Rows, now_us: int) -> tuple[list[int], list[int | None]]:
    """Return minutes (microseconds) and devices; None: every device of that minute."""
    minutes = rows.time_us // _MINUTE_US
    late = (minutes + 1) * _MINUTE_US + LATE_AFTER_US < now_us
    marks: list[tuple[int, int | None]] = [
        (minute * _MINUTE_US, None) for minute in np.unique(minutes[~late]).tolist()
    ]
    if late.any():
        pairs = np.unique(np.stack((minutes[late], rows.device_id[late].astype(np.int64))), axis=1)
        marks += [(minute * _MINUTE_US, device) for minute, device in pairs.T.tolist()]
    minute_us, devices = zip(*marks, strict=True)
    return list(minute_us), list(devices)
