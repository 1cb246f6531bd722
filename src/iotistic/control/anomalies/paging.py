"""Where a list goes on: after the time and id of the last row."""

from datetime import datetime
from uuid import UUID

from iotistic.control.anomalies.model import CursorInvalid
from iotistic.control.anomalies.series_rows import Key, from_us, to_us

_MOST_ID = 2**31 - 1


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


def read_series_cursor(text: str | None) -> Key | None:
    """Return the series that a text names. Raises CursorInvalid."""
    if text is None:
        return None
    device, _, datapoint = text.partition(".")
    try:
        found = int(device), int(datapoint)
    except ValueError as exc:
        raise CursorInvalid(hint="leave it out to begin with the first") from exc
    if not all(0 <= one <= _MOST_ID for one in found):
        raise CursorInvalid(hint="leave it out to begin with the first")
    return found
