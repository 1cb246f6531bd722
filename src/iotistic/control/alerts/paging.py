"""Where a list goes on: after the time and id of the last row."""

from datetime import datetime
from uuid import UUID

from iotistic.control.alerts.model import from_us, to_us
from iotistic.kernel.errors import Invalid


class CursorInvalid(Invalid):
    """`before` is not one that a page gave as `next`."""

    code = "alerts.cursor_invalid"


def write_cursor(at: datetime, row_id: UUID) -> str:
    """Return the text of a place."""
    return f"{to_us(at)}.{row_id.hex}"


def read_cursor(text: str | None) -> tuple[datetime, UUID] | None:
    """Return the place that a text names. Raises CursorInvalid."""
    if text is None:
        return None
    at, _, row_id = text.partition(".")
    try:
        return from_us(int(at)), UUID(hex=row_id)
    except (ValueError, OverflowError) as exc:
        raise CursorInvalid(hint="leave it out to begin with the newest") from exc
