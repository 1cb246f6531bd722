"""Cursors of lists that begin with the newest: a time and an id, opaque to whoever hands them back."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from iotistic.kernel.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BYTES = 24


class CursorInvalid(Invalid):
    """The cursor is not one that a page of this list gave."""

    code = "page.cursor_invalid"


def write_cursor(at: datetime, row_id: UUID) -> str:
    """Return the place behind a row."""
    moment_us = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(moment_us.to_bytes(8, "big") + row_id.bytes).decode()


def read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return what a cursor holds. Raises CursorInvalid."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
        if len(raw) != _BYTES:
            raise CursorInvalid(hint="take next_cursor of the page before")
        at = _EPOCH + timedelta(microseconds=int.from_bytes(raw[:8], "big"))
    except (binascii.Error, ValueError, OverflowError) as exc:
        raise CursorInvalid(hint="take next_cursor of the page before") from exc
    return at, UUID(bytes=raw[8:])
