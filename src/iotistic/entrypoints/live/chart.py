"""A series as a chart of block characters: one column per bucket, from its least to its greatest value."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_AXIS_WIDTH = 11


@dataclass(frozen=True)
class Bar:
    """One bucket: `low` and `high` are its extremes."""

    time: datetime
    low: float
    high: float


def plot_width(width: int) -> int:
    """Return how many columns of `width` are left for the plot itself."""
    return max(10, width - _AXIS_WIDTH)


def chart(
    bars: Sequence[Bar], *, bucket: timedelta, start: datetime, end: datetime, width: int, height: int
) -> list[str]:
    """Return lines of text: `height` of chart with a scale on the left, and the times below.

    A bar is as wide as its `bucket`. Columns without a reading stay empty. `bars` must not be empty.
    """
    columns = _columns(bars, bucket, start, end, plot_width(width))
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
    bars: Sequence[Bar], bucket: timedelta, start: datetime, end: datetime, count: int
) -> list[tuple[float, float] | None]:
    columns: list[tuple[float, float] | None] = [None] * count
    span_s = (end - start).total_seconds() or 1.0
    for bar in bars:
        first = _at(bar.time, start, span_s, count)
        last = max(first, _at(bar.time + bucket, start, span_s, count) - 1)
        for at in range(first, last + 1):
            low, high = columns[at] or (bar.low, bar.high)
            columns[at] = min(low, bar.low), max(high, bar.high)
    return columns


def _at(moment: datetime, start: datetime, span_s: float, count: int) -> int:
    return min(count - 1, max(0, int((moment - start).total_seconds() / span_s * count)))


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
