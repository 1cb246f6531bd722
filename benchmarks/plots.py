"""Plots as SVG, drawn here: panels one above the other that share the axis of rows.

A long series is thinned to what the pixels can show, and no spike is lost by it: of each column of pixels the lowest
and the highest value are kept. Text is escaped here; callers pass what they have.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

WIDTH, LEFT, RIGHT, GAP, FOOT = 1100, 64, 36, 30, 38
INNER = WIDTH - LEFT - RIGHT
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
Point = tuple[float, float]


def thin(values: Sequence[float], columns: int, first: int = 0) -> list[Point]:
    """Return (row, value) of what is to be drawn: all, or of each column the extremes in their order.

    The first and the last value are kept too; what is not finite is left out. `first` is the row of values[0].
    """
    points = [(first + row, value) for row, value in enumerate(values) if math.isfinite(value)]
    if len(points) <= 2 * columns + 2:
        return points
    kept = {0, len(points) - 1}
    for column in range(columns):
        rows = range(column * len(points) // columns, (column + 1) * len(points) // columns)
        kept.add(min(rows, key=lambda row: points[row][1]))
        kept.add(max(rows, key=lambda row: points[row][1]))
    return [points[row] for row in sorted(kept)]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return some `about` round numbers from `low` to `high`, at least one."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * one for one in STEPS if unit * one >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = [
        round(first + i) * step for i in range(2 * about + 2) if (first + i) * step <= high + step * 1e-9
    ]
    return found or [low]


def short(value: float, step: float = 0.0) -> str:
    """Return a number in few characters, with enough digits to tell it from one a `step` away."""
    if value == 0:
        return "0"
    size = max(abs(value), abs(step))
    scale, prefix = next(((scale, name) for scale, name in PREFIXES if size >= scale * 0.9999), (1.0, ""))
    if scale == 1.0 and abs(value) >= 1e-3:
        digits = 3 if not step else max(0, min(9, -math.floor(math.log10(step) + 1e-9) + (step < 1)))
        return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return f"{value / scale:.4g}{prefix}"


@dataclass
class Panel:
    """One panel: a title above, values from `low` to `high` upwards, and what is drawn in it."""

    title: str
    low: float
    high: float
    height: int = 150
    scale: Literal["linear", "root"] = "linear"
    """`root` gives small values more room."""
    marks: list[str] = field(default_factory=list)
    lines: tuple[float, ...] | None = None
    """Where the axis is labelled; None: at round numbers."""

    def __post_init__(self) -> None:
        """Widen a range without extent, so that a constant lies in the middle."""
        if not self.high > self.low:
            off = abs(self.low) * 0.1 or 1.0
            self.low, self.high = self.low - off, self.low + off

    def y(self, value: float) -> float:
        """Return how far below the panel's top a value lies."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.height * (1.0 - (math.sqrt(share) if self.scale == "root" else share))


@dataclass
class Chart:
    """Panels over the rows `first` to `last`. `stamp` says what is written below a row's number."""

    first: int
    last: int
    panels: list[Panel]
    stamp: Callable[[int], str] | None = None

    def x(self, row: float) -> float:
        """Return how far to the right a row lies."""
        return LEFT + INNER * (row - self.first) / max(self.last - self.first, 1)

    def line(self, panel: Panel, points: Iterable[Point], style: str) -> None:
        """Draw a line through (row, value)."""
        path = " ".join(f"{_n(self.x(row))},{_n(panel.y(value))}" for row, value in points)
        panel.marks.append(f'<polyline class="{style}" points="{path}"/>')

    def band(self, panel: Panel, lower: Sequence[Point], upper: Sequence[Point], style: str) -> None:
        """Fill what lies between two lines."""
        around = [*upper, *reversed(lower)]
        path = " ".join(f"{_n(self.x(row))},{_n(panel.y(value))}" for row, value in around)
        panel.marks.append(f'<polygon class="{style}" points="{path}"/>')

    def span(self, panel: Panel, first: float, last: float, style: str, title: str) -> None:
        """Shade the rows from `first` to `last`, as far as they are on the chart."""
        left, right = self.x(max(first, self.first)), self.x(min(last, self.last))
        if right < left:
            return
        panel.marks.append(
            f'<rect class="{style}" x="{_n(left)}" y="0" width="{_n(max(right - left, 1.0))}"'
            f' height="{panel.height}"><title>{escape(title)}</title></rect>'
        )

    def level(self, panel: Panel, value: float, style: str, title: str) -> None:
        """Draw a value across the panel, named at its right end."""
        y = _n(panel.y(value))
        panel.marks.append(
            f'<line class="{style}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="note" x="{WIDTH - RIGHT - 4}" y="{_n(panel.y(value) - 4)}">{escape(title)}</text>'
        )

    def stem(self, panel: Panel, row: float, value: float, style: str) -> None:
        """Draw a value as a line from the ground."""
        x = _n(self.x(row))
        panel.marks.append(
            f'<line class="{style}" x1="{x}" x2="{x}" y1="{panel.height}" y2="{_n(panel.y(value))}"/>'
        )

    def mark(self, panel: Panel, row: float, value: float, style: str, title: str) -> None:
        """Mark a value: a triangle, or a cross where the style is `wrong`."""
        x, y = self.x(row), panel.y(value)
        shape = (
            f"M{_n(x - 5)},{_n(y - 5)}L{_n(x + 5)},{_n(y + 5)}M{_n(x - 5)},{_n(y + 5)}L{_n(x + 5)},{_n(y - 5)}"
            if style == "wrong"
            else f"M{_n(x)},{_n(y - 6)}L{_n(x + 6)},{_n(y + 5)}L{_n(x - 6)},{_n(y + 5)}Z"
        )
        panel.marks.append(f'<path class="mark {style}" d="{shape}"><title>{escape(title)}</title></path>')

    def svg(self, title: str) -> str:
        """Return the drawing."""
        parts: list[str] = []
        top = 22
        for panel in self.panels:
            parts.append(f'<g transform="translate(0,{top})">{self._frame(panel)}{"".join(panel.marks)}</g>')
            top += panel.height + GAP
        bottom = top - GAP
        parts.append(f'<g transform="translate(0,{bottom})">{self._rows()}</g>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + FOOT}" role="img">'
            f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
        )

    def _frame(self, panel: Panel) -> str:
        places = panel.lines or tuple(ticks(panel.low, panel.high, max(2, panel.height // 36)))
        step = min((b - a for a, b in itertools.pairwise(places)), default=0.0)
        grid = "".join(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_n(panel.y(one))}" y2="{_n(panel.y(one))}"/>'
            f'<text class="left" x="{LEFT - 6}" y="{_n(panel.y(one) + 4)}">{escape(short(one, step))}</text>'
            for one in places
        )
        return f'{grid}<text class="title" x="{LEFT}" y="-7">{escape(panel.title)}</text>'

    def _rows(self) -> str:
        parts: list[str] = []
        for row in ticks(self.first, self.last, 9):
            x = _n(self.x(row))
            below = self.stamp(round(row)) if self.stamp else ""
            parts.append(
                f'<line class="tick" x1="{x}" x2="{x}" y1="0" y2="4"/>'
                f'<text class="row" x="{x}" y="17">{row:,.0f}</text>'
                f'<text class="row time" x="{x}" y="31">{escape(below)}</text>'
            )
        return "".join(parts)


def _n(number: float) -> str:
    """Return a place in the drawing: a tenth of a pixel is enough."""
    return f"{number:.1f}".removesuffix(".0")
