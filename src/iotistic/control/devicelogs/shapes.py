"""What the routes about logs take and give."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from iotistic.control.devicelogs.line import Level, level_named
from iotistic.control.devicelogs.repository import LineFilter, Position
from iotistic.control.devicelogs.service import Found, Receipt
from iotistic.telemetry.query.parameters import Cursor, Instant, Parameters
from iotistic.telemetry.query.references import Key, ParameterInvalid, decode_cursor, encode_cursor
from iotistic.telemetry.query.times import from_us, to_us

_FAR = timedelta(days=2)
_KEY_BYTES = 12
_Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class FilterQuery(Parameters):
    """Which lines."""

    service: _Text | None = None
    level: _Text | None = Field(None, description="The least: debug, info, warn or error.")
    q: _Text | None = Field(None, description="Part of a message, in capitals or not.")
    stderr: bool | None = None

    def wanted(self) -> LineFilter:
        """Return the filter. Raises ParameterInvalid."""
        level = level_named(self.level) if self.level else Level.DEBUG
        if level is None:
            raise ParameterInvalid.of("level", "give debug, info, warn or error")
        return LineFilter(service=self.service, level=int(level), text=self.q, is_stderr=self.stderr)


class SearchQuery(FilterQuery):
    """Which part of them."""

    start: Instant | None = Field(None, alias="from")
    end: Instant | None = Field(None, alias="to")
    limit: int = Field(1000, ge=1, le=5000)
    cursor: Cursor = None

    def since(self) -> datetime:
        """Return the first instant."""
        return self.start or from_us(0)

    def before(self, now: datetime) -> Position:
        """Return where the search begins. Raises ParameterInvalid."""
        if self.cursor is None:
            return (self.end or now + _FAR, b"")
        _, (at, key) = decode_cursor(self.cursor, "logs", keys=(Key.TIME, Key.TEXT))
        try:
            found = bytes.fromhex(str(key))
        except ValueError:
            found = b""
        if len(found) != _KEY_BYTES:
            raise ParameterInvalid.of("cursor", "take it unchanged from the answer before")
        return from_us(int(at)), found


def search_answer(found: Found) -> dict[str, Any]:
    """Return lines; a page may have fewer than asked for, or none, while `nextCursor` leads on."""
    cursor = None
    if found.next_position is not None:
        at, key = found.next_position
        cursor = encode_cursor("logs", to_us(at), key.hex())
    return {"count": len(found.lines), "logs": [shown(row) for row in found.lines], "nextCursor": cursor}


def upload_answer(receipt: Receipt) -> dict[str, Any]:
    """Return what became of an upload."""
    return {
        "status": "ok",
        "received": receipt.read,
        "stored": receipt.stored,
        "duplicates": receipt.duplicates,
        "expired": receipt.expired,
        "refused": receipt.refused,
        "faults": [{"line": line, "reason": reason} for line, reason in receipt.faults.items()],
    }


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line."""
    return {
        "id": row["key"].hex(),
        "seq": row["seq"],
        "timestamp": row["at"],
        "received_time": row["is_restamped"],
        "level": Level(row["level"]).name.lower(),
        "service_name": row["service"],
        "source": row["source"],
        "container_id": row["container"],
        "is_stderr": row["is_stderr"],
        "is_system": row["is_system"],
        "message": row["message"],
    }
