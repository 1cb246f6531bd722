"""CSV (RFC 4180) written in pieces: a header, then rows; a text with commas, quotes or breaks is quoted."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

from iotistic.telemetry.query.times import iso

Cell = str | int | float | datetime | None
MEDIA_TYPE = "text/csv; charset=utf-8"


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    """Return `rows` as CSV lines. Nothing is an empty field, an instant is ISO 8601, a float is exact."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerows([iso(cell) if isinstance(cell, datetime) else cell for cell in row] for row in rows)
    return buffer.getvalue()
