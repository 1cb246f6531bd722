"""A series as a chart of block characters: one column per bucket, from its least to its greatest value."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

_AXIS_WIDTH = 11


@dataclass(frozen=True)
class Bar:
    """One bucket: `low` and `high` are its extremes."""

    time: datetime
    low: float
    high: float


def chart(bars: Sequence[Bar], *, start: datetime, end: datetime, width: int, height: int) -> list[str]:
    """Return lines of text: `height` of chart with a scale on the left, and the times below.

    Columns without a reading stay empty. `bars` must not be empty.
    """
    columns = _columns(bars, start, end, max(10, width - _AXIS_WIDTH))
    low = min(bar.low for bar in bars)
    high = max(bar.high for bar in bars)
    step = (high - low) / height or 1.0
    lines = [
        _scale(low, high, row, height)
        + "".join(_mark(column, low + row * step, step, bottom=row == 0) for column in columns)
        for row in reversed(range(height))
    ]
    left, right = start.strftime("%m-%d %H:%M"), end.strftime("%m-%d %H:%M UTC")
    gap = max(1, len(columns) - len(left) - len(right))
    return [*lines, " " * _AXIS_WIDTH + left + " " * gap + right]


def _columns(
    bars: Sequence[Bar], start: datetime, end: datetime, count: int
) -> list[tuple[float, float] | None]:
    columns: list[tuple[float, float] | None] = [None] * count
    span_s = (end - start).total_seconds() or 1.0
    for bar in bars:
        at = min(count - 1, max(0, int((bar.time - start).total_seconds() / span_s * count)))
        known = columns[at]
        columns[at] = (
            (bar.low, bar.high) if known is None else (min(known[0], bar.low), max(known[1], bar.high))
        )
    return columns


def _mark(column: tuple[float, float] | None, floor: float, step: float, *, bottom: bool) -> str:
    if column is None:
        return " "
    low, high = column
    above = high > floor or (bottom and high >= floor)
    return "█" if above and low < floor + step else " "


def _scale(low: float, high: float, row: int, height: int) -> str:
    shown = {0: low, height - 1: high, height // 2: (low + high) / 2}
    text = f"{shown[row]:.5g}" if row in shown else ""
    return f"{text:>{_AXIS_WIDTH - 3}} │ "
