"""The lines of all devices, in the order in which they became readable; for whoever judges each line once.

    cursor = await arrivals.end()
    lines, cursor = await arrivals.after(cursor, limit=5000)

Numbers of lines are drawn before the commit: two uploads may become readable the other way round, and a reader who
went on by number would miss the slower one. So each part of an upload is noted with the number of its transaction,
in that transaction, and nothing is read from the oldest transaction on that still runs: all below it are over, what
they wrote is seen, and none of that number can come any more.

- A line is given late, never not at all: any transaction that writes, of whatever database of the server, holds the
  reading back while it runs.
- A device's lines come in the order in which they were kept.
- Places outlive a restored backup: see `device_log_ahead` (0026).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.devicelogs.line import Level
from iotistic.kernel.errors import Invalid
from iotistic.kernel.postgres.pool import database_errors

_HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + $1"
_PARTS = (
    "SELECT place, device_number, first_seq, last_seq, lines FROM device_log_arrivals "  # noqa: S608  constant
    f"WHERE place >= $2 AND place < ({_HORIZON}) AND (place, last_seq) > ($2, $3) "
    "ORDER BY place, first_seq LIMIT $4"
)
_SHOWN = "d.uuid::text AS device_uuid, l.seq, l.at, l.service, l.level, l.message"
_LINES = (
    f"SELECT {_SHOWN}, part.place FROM "  # noqa: S608  constant
    "unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) part (place, device_number, first_seq, last_seq) "
    "JOIN fleet_devices d ON d.number = part.device_number "
    "JOIN device_logs l ON l.device_number = part.device_number AND l.seq BETWEEN part.first_seq AND part.last_seq "
    "WHERE (part.place, l.seq) > ($5, $6) ORDER BY part.place, l.seq LIMIT $7"
)
_BETWEEN = (
    f"SELECT {_SHOWN} FROM device_logs l JOIN fleet_devices d ON d.number = l.device_number "  # noqa: S608  constant
    "WHERE l.at >= $1 AND l.at < $2 AND ($3::uuid[] IS NULL OR l.device_number IN "
    "(SELECT number FROM fleet_devices WHERE uuid = ANY($3::uuid[]))) "
    "ORDER BY l.at, l.device_number, l.seq LIMIT $4"
)


class CursorInvalid(Invalid):
    """This is no place among the lines."""

    code = "logs.cursor_invalid"


@dataclass(frozen=True, slots=True)
class ArrivedLine:
    """A line as it is kept; `at` is the device's time, aware, and `level` a word."""

    device_uuid: str
    at: datetime
    service: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class _Place:
    place: int
    seq: int

    @classmethod
    def read(cls, cursor: str) -> "_Place":
        place, _, seq = cursor.partition(":")
        if not (place.isdecimal() and seq.isdecimal()):
            raise CursorInvalid(hint="take it unchanged from the answer before")
        return cls(int(place), int(seq))

    def write(self) -> str:
        return f"{self.place}:{self.seq}"


class LogArrivals:
    """Reads them from the database; any number of readers, each with its own cursor."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def end(self) -> str:
        """Return the cursor of now: what is readable already lies before it, what comes later behind it."""
        with database_errors():
            ahead = await self._ahead()
            # Nothing has this place or a later one and can be read; so nothing later has a lower one.
            return _Place(int(await self._pool.fetchval(_HORIZON, ahead)) - 1, 2**63 - 1).write()

    async def after(self, cursor: str, *, limit: int) -> tuple[list[ArrivedLine], str]:
        """Return lines after a cursor, and the cursor behind them; fewer than `limit` are all that there are.

        Raises CursorInvalid.
        """
        last, found = _Place.read(cursor), list[ArrivedLine]()
        with database_errors():
            ahead = await self._ahead()
            while len(found) < limit:
                parts = await self._pool.fetch(_PARTS, ahead, last.place, last.seq, limit)
                if not parts:
                    break
                wanted = _enough(parts, limit)
                rows = await self._lines(wanted, last, limit - len(found))
                found += [_line(row) for row in rows]
                # Lines of removed devices and dropped days are in no part's count any more.
                last = (
                    _Place(rows[-1]["place"], rows[-1]["seq"])
                    if len(found) == limit
                    else _Place(wanted[-1]["place"], wanted[-1]["last_seq"])
                )
        return found, last.write()

    async def between(
        self, devices: Sequence[UUID] | None, start: datetime, end: datetime, *, limit: int
    ) -> list[ArrivedLine]:
        """Return kept lines of [start, end) in the order of their times; `devices` None means all."""
        named = None if devices is None else list(devices)
        with database_errors():
            rows = await self._pool.fetch(_BETWEEN, start, end, named, limit)
        return [_line(row) for row in rows]

    async def _ahead(self) -> int:
        return int(await self._pool.fetchval("SELECT device_log_ahead()"))

    async def _lines(self, parts: Sequence[Any], after: _Place, limit: int) -> list[Any]:
        columns = [
            [part[name] for part in parts] for name in ("place", "device_number", "first_seq", "last_seq")
        ]
        return await self._pool.fetch(_LINES, *columns, after.place, after.seq, limit)


def _enough(parts: Sequence[Any], limit: int) -> Sequence[Any]:
    """Return the first parts that hold so many lines, or all."""
    lines = 0
    for count, part in enumerate(parts, start=1):
        lines += part["lines"]
        if lines > limit:
            return parts[:count]
    return parts


def _line(row: Any) -> ArrivedLine:
    return ArrivedLine(
        row["device_uuid"], row["at"], row["service"], Level(row["level"]).name.lower(), row["message"]
    )
