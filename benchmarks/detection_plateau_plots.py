"""A small plot for each constant. Those of one figure have one axis, so that plateaus compare."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.detection_plateaus import Plateau, Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 300, 140, 44, 20, 26, 24
SETS_LEFT = 120
INNER = HEIGHT - TOP - FOOT
Axis = tuple[float, float]


def drawing(found: Sequence[Plateau]) -> str:
    """Return the plots of all constants, with what they mean."""
    axes: dict[str, Axis] = {}
    for one in found:
        values = [one.usual - one.spread, one.usual + one.spread, *(point.value for point in one.points)]
        low, high = axes.get(one.figure, (math.inf, -math.inf))
        axes[one.figure] = (min(low, *values), max(high, *values))
    plots = "".join(_plot(one, axes[one.figure]) for one in found)
    about = (
        "<p>One constant changed, the others as they are: from left to right 0.5, 0.7, 1, 1.4 and 2 times its value. "
        "The dashed line is the figure with all as they are. <i>halves</i>: NAB on one half with the threshold of the "
        "other, mean over 24 random splits; the band is their spread. Plots of one figure share an axis.</p>"
    )
    return f'{about}<div class="plateaus">{plots}</div>'


def _plot(one: Plateau, axis: Axis) -> str:
    scaled = [point for point in one.points if point.factor is not None]
    inside = _curve(one, scaled, axis) if scaled else _sets(one, axis)
    title = f"{escape(one.name)}: {escape(one.figure)}"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><text class="title" x="4" y="14">{title}</text>{inside}</svg>'


def _curve(one: Plateau, scaled: Sequence[Point], axis: Axis) -> str:
    """Draw the figure over the factor."""

    def x(factor: float) -> float:
        return LEFT + 10 + (WIDTH - LEFT - RIGHT - 14) * (math.log2(factor) + 1) / 2

    def y(value: float) -> float:
        return TOP + INNER * (1 - _share(value, axis))

    points = sorted([*scaled, Point("as it is", 1.0, one.usual)], key=lambda point: point.factor or 0.0)
    places = [(x(point.factor or 1.0), y(point.value), point) for point in points]
    path = " ".join(f"{across:.1f},{down:.1f}" for across, down, _ in places)
    marks = "".join(
        f'{_dot(across, down, point)}<text class="row" x="{across:.1f}" y="{HEIGHT - 7}">{point.factor:g}</text>'
        for across, down, point in places
    )
    labels = "".join(
        f'<text class="left" x="{LEFT - 6}" y="{y(value) + 4:.1f}">{value:.3g}</text>' for value in axis
    )
    band = (
        f'<rect class="spread" x="{LEFT}" width="{WIDTH - LEFT - RIGHT + 8}" y="{y(one.usual + one.spread):.1f}" '
        f'height="{y(one.usual - one.spread) - y(one.usual + one.spread):.1f}"/>'
        f'<line class="usual" x1="{LEFT}" x2="{WIDTH - RIGHT + 8}" y1="{y(one.usual):.1f}" y2="{y(one.usual):.1f}"/>'
    )
    return f'{band}<polyline class="signal" points="{path}"/>{marks}{labels}'


def _sets(one: Plateau, axis: Axis) -> str:
    """Draw a line of its own for each set, the figure to the right."""

    def x(value: float) -> float:
        return SETS_LEFT + (WIDTH - SETS_LEFT - RIGHT) * _share(value, axis)

    height = INNER / max(len(one.points), 1)
    left, right = x(one.usual - one.spread), x(one.usual + one.spread)
    band = f'<rect class="spread" x="{left:.1f}" width="{right - left:.1f}" y="{TOP}" height="{INNER}"/>'
    line = (
        f'<line class="usual" x1="{x(one.usual):.1f}" x2="{x(one.usual):.1f}" y1="{TOP}" y2="{TOP + INNER}"/>'
    )
    parts = [band, line]
    for number, point in enumerate(one.points):
        y = TOP + height * (number + 0.5)
        parts.append(f'<text class="left" x="{SETS_LEFT - 8}" y="{y + 4:.1f}">{escape(point.label)}</text>')
        parts.append(_dot(x(point.value), y, point))
    labels = (f'<text class="row" x="{x(value):.1f}" y="{HEIGHT - 7}">{value:.3g}</text>' for value in axis)
    return "".join((*parts, *labels))


def _share(value: float, axis: Axis) -> float:
    low, high = axis
    return (value - low) / ((high - low) or 1.0)


def _dot(x: float, y: float, point: Point) -> str:
    title = escape(f"{point.label}: {point.value:.4g}")
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{title}</title></circle>'
