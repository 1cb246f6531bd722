"""Rows of logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iotistic.control.devicelogs.line import LogLine
from iotistic.control.devices.repository import Database

_COLUMNS = "at, key, is_restamped, level, is_stderr, is_system, service, source, container, message"
_SHOWN = f"seq, {_COLUMNS}"
_ADD = (
    f"WITH kept AS (INSERT INTO device_logs (device_number, seq, {_COLUMNS}) "  # noqa: S608  constants
    f"SELECT $1, nextval('device_log_order'), {_COLUMNS} "
    "FROM unnest($2::timestamptz[], $3::bytea[], $4::boolean[], $5::smallint[], $6::boolean[], $7::boolean[], "
    f"$8::text[], $9::text[], $10::text[], $11::text[]) l ({_COLUMNS}) "
    "WHERE NOT (l.is_restamped AND EXISTS (SELECT FROM device_logs d "
    "WHERE d.device_number = $1 AND d.key = l.key AND d.is_restamped)) "
    "ON CONFLICT (device_number, at, key) DO NOTHING RETURNING seq), "
    # For whoever reads the lines of all devices in the order in which they became readable: see arrivals.py.
    "arrived AS (INSERT INTO device_log_arrivals (place, device_number, first_seq, last_seq, lines, at) "
    "SELECT pg_current_xact_id()::text::bigint + $12, $1, min(seq), max(seq), count(*), $13 "
    "FROM kept HAVING count(*) > 0) SELECT count(*) FROM kept"
)
_CONDITIONS = (
    "($1::text IS NULL OR service = $1) AND level >= $2 AND ($3::text IS NULL OR message ILIKE $3) "
    "AND ($4::boolean IS NULL OR is_stderr = $4)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LineFilter:
    """Which lines. `text` is a part of the message, in capitals or not."""

    service: str | None = None
    level: int = 0
    text: str | None = None
    is_stderr: bool | None = None

    def parameters(self) -> tuple[object, ...]:
        """Return the first four parameters of a statement."""
        escaped = None if self.text is None else self.text.replace("\\", "\\\\")
        if escaped is not None:
            escaped = escaped.replace("%", "\\%").replace("_", "\\_")
        return (self.service, self.level, escaped and f"%{escaped}%", self.is_stderr)


Position = tuple[datetime, bytes]
"""Where a line stands among those of its device."""


async def number_of(db: Database, uuid: str) -> int | None:
    """Return the number of a device."""
    return await db.fetchval("SELECT number FROM fleet_devices WHERE uuid = $1::text::uuid", uuid)


async def add(db: Database, number: int, lines: Sequence[LogLine], now: datetime) -> int:
    """Keep lines, in a transaction of the caller's alone; return how many were not there yet.

    One upload of a device at a time: lines become visible in the order of their numbers, so that whoever reads
    on by number misses none.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('device-logs', $1))", number)
    columns = [[getattr(line, name) for line in lines] for name in _COLUMNS.split(", ")]
    columns[3] = [int(level) for level in columns[3]]
    ahead = await db.fetchval("SELECT device_log_ahead()")
    stored = await db.fetchval(_ADD, number, *columns, ahead, now)
    newest: dict[str, datetime] = {}
    for line in lines:
        newest[line.service] = max(newest.get(line.service, line.at), line.at)
    await db.execute(
        "INSERT INTO device_log_services (device_number, service, last_at) "
        "SELECT $1, * FROM unnest($2::text[], $3::timestamptz[]) ON CONFLICT (device_number, service) "
        "DO UPDATE SET last_at = EXCLUDED.last_at "
        "WHERE device_log_services.last_at < EXCLUDED.last_at - interval '1 minute'",
        number,
        list(newest),
        list(newest.values()),
    )
    return stored


async def search(
    db: Database,
    number: int,
    wanted: LineFilter,
    *,
    since: datetime,
    before: Position,
    looked_at: int,
    limit: int,
) -> list[Any]:
    """Return lines, the newest first, among the `looked_at` that stand before a position."""
    return await db.fetch(
        f"SELECT {_SHOWN} FROM (SELECT {_SHOWN} FROM device_logs WHERE device_number = $5 AND at >= $6 "  # noqa: S608  constants
        "AND at <= $7 AND (at, key) < ($7, $8) ORDER BY at DESC, key DESC LIMIT $9) looked_at "
        f"WHERE {_CONDITIONS} ORDER BY at DESC, key DESC LIMIT $10",
        *wanted.parameters(),
        number,
        since,
        *before,
        looked_at,
        limit,
    )


async def position_after(
    db: Database, number: int, *, since: datetime, before: Position, looked_at: int
) -> Position | None:
    """Return where a look at so many lines ended; None when it came to the end of all."""
    row = await db.fetchrow(
        "SELECT at, key FROM device_logs WHERE device_number = $1 AND at >= $2 AND at <= $3 "
        "AND (at, key) < ($3, $4) ORDER BY at DESC, key DESC OFFSET $5 LIMIT 1",
        number,
        since,
        *before,
        looked_at - 1,
    )
    return (row["at"], row["key"]) if row else None


async def following(db: Database, number: int, wanted: LineFilter, after: int, limit: int) -> list[Any]:
    """Return lines that were kept after one, in that order, with all that do not fit left out."""
    return await db.fetch(
        f"SELECT {_SHOWN}, {_CONDITIONS} AS fits FROM device_logs WHERE device_number = $5 AND seq > $6 "  # noqa: S608  constants
        "ORDER BY seq LIMIT $7",
        *wanted.parameters(),
        number,
        after,
        limit,
    )


async def newest_number(db: Database, number: int) -> int:
    """Return the number of the line that was kept last, 0 when there is none."""
    found = await db.fetchval(
        "SELECT seq FROM device_logs WHERE device_number = $1 ORDER BY seq DESC LIMIT 1", number
    )
    return found or 0


async def services(db: Database, number: int) -> list[Any]:
    """Return the services that a device has lines of, by name."""
    return await db.fetch(
        "SELECT service, last_at FROM device_log_services WHERE device_number = $1 ORDER BY service LIMIT 1000",
        number,
    )
