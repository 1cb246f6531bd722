"""The plots of one series: all of it, and each event and missed window from near."""

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.detection_story import Story, Told
from benchmarks.plots import INNER, Chart, Panel, short, thin

Part = tuple[int, int]
AROUND, APART, WIDEST, MOST = 100, 120, 600, 24
"""Rows shown beside an event; events nearer than `APART` share a plot; rows and number of such plots at most."""
ALERT_LINES = (0.25, 0.5, 1.0)


def whole(story: Story, threshold: float, raw_threshold: float) -> str:
    """Return the plot of a whole series: signal with events, alert score and raw score with their thresholds."""
    rows = len(story.values)
    signal, alert, raw = _panels(story, 0, rows - 1, 220, raw_threshold)
    chart = Chart(0, rows - 1, [signal, alert, raw], lambda row: when(story, row, "%d %b %H:%M"))
    _shade(chart, story)
    chart.line(signal, thin(story.values, INNER), "signal")
    for row in np.flatnonzero(story.alerts):
        told = "alert" if story.alerts[row] >= threshold else "quiet"
        chart.stem(alert, float(row), float(story.alerts[row]), told)
    chart.line(raw, thin(story.raws, INNER), "raw")
    _levels(chart, alert, raw, threshold, raw_threshold)
    _mark(chart, signal, story)
    return chart.svg(f"{story.name}: all rows")


def near(story: Story, part: Part, threshold: float, raw_threshold: float) -> str:
    """Return the plot of some rows, with what was expected of each."""
    first, last = part
    signal, alert, raw = _panels(story, first, last, 170, raw_threshold)
    alert.height = raw.height = 80
    chart = Chart(first, last, [signal, alert, raw], lambda row: when(story, row, "%d %b %H:%M"))
    _shade(chart, story)
    shown = slice(first, last + 1)
    lows = [(row, value) for row, value in enumerate(story.lows[shown], first) if row > story.warm_up // 10]
    highs = [(row, value) for row, value in enumerate(story.highs[shown], first) if row > story.warm_up // 10]
    chart.band(signal, lows, highs, "expected")
    chart.line(signal, list(enumerate(story.values[shown], first)), "signal")
    for row in range(first, last + 1):
        if story.alerts[row] > 0:
            told = "alert" if story.alerts[row] >= threshold else "quiet"
            chart.stem(alert, row, float(story.alerts[row]), told)
    chart.line(raw, list(enumerate(story.raws[shown], first)), "raw")
    _levels(chart, alert, raw, threshold, raw_threshold)
    _mark(chart, signal, story)
    return chart.svg(f"{story.name}: rows {first} to {last}")


def parts(story: Story) -> tuple[list[Part], int]:
    """Return the rows of the plots from near, and how many more there would be.

    Around missed windows' middles and around events; the strongest events come first when there are too many.
    """
    centres = [(2.0, (one.first + one.last) // 2) for one in story.windows if one.found is None]
    centres += [(min(one.event.score / 1e3, 1.0), one.row) for one in story.events]
    kept = sorted(row for _, row in sorted(centres, reverse=True)[: 4 * MOST])
    found = list(_joined(kept, len(story.values)))
    return found[:MOST], max(0, len(found) - MOST)


def _joined(rows: Sequence[int], count: int) -> Iterator[Part]:
    group: list[int] = []
    for row in rows:
        if group and (row - group[-1] > APART or row - group[0] > WIDEST - 2 * AROUND):
            yield max(0, group[0] - AROUND), min(count - 1, group[-1] + AROUND)
            group = []
        group.append(row)
    if group:
        yield max(0, group[0] - AROUND), min(count - 1, group[-1] + AROUND)


def spark(values: Sequence[float]) -> str:
    """Return a small line for a table."""
    points = thin(values, 80)
    low, high = min((v for _, v in points), default=0.0), max((v for _, v in points), default=0.0)
    width, height, span = 160.0, 28.0, (high - low) or 1.0
    path = " ".join(
        f"{1 + (width - 2) * row / max(len(values) - 1, 1):.1f},{height - 1 - (height - 2) * (v - low) / span:.1f}"
        for row, v in points
    )
    return f'<svg class="spark" viewBox="0 0 160 28" aria-hidden="true"><polyline class="signal" points="{path}"/></svg>'


def when(story: Story, row: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return the time of a row, in UTC; nothing when it is none."""
    try:
        return dt.datetime.fromtimestamp(story.times[row], dt.UTC).strftime(form)
    except (IndexError, ValueError, OverflowError, OSError):
        return ""


def title_of(one: Told) -> str:
    """Return what is shown when the pointer rests on an event."""
    event = one.event
    expected = f"{short(event.expected_low)} to {short(event.expected_high)}"
    place = "false" if one.window is None else f"in window {one.window + 1}"
    scored = place if one.is_scored else f"{place}, in the warm-up that is not scored"
    return f"row {one.row}: {short(event.value)}, expected {expected}; {event.method}, {event.severity}; {scored}"


def _panels(
    story: Story, first: int, last: int, height: int, raw_threshold: float
) -> tuple[Panel, Panel, Panel]:
    values = story.values[first : last + 1]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    off = (high - low) * 0.06
    raw_high = max(float(story.raws[first : last + 1].max()), 1.5 * raw_threshold)
    return (
        Panel("signal", low - off, high + off, height),
        Panel("alert score (root scale)", 0.0, 1.0, 110, "root", lines=ALERT_LINES),
        Panel("raw score", 0.0, raw_high, 110),
    )


def _shade(chart: Chart, story: Story) -> None:
    for panel in chart.panels:
        chart.span(panel, 0, story.warm_up, "warming", f"rows before {story.warm_up} are not scored")
        for number, one in enumerate(story.windows, 1):
            found = "missed" if one.found is None else f"found at row {one.found}"
            style = "window" if one.found is not None else "window missed"
            chart.span(
                panel, one.first, one.last, style, f"window {number}: {one.first} to {one.last}, {found}"
            )


def _levels(chart: Chart, alert: Panel, raw: Panel, threshold: float, raw_threshold: float) -> None:
    chart.level(alert, threshold, "threshold", f"threshold {threshold:g}")
    chart.level(raw, raw_threshold, "threshold", f"threshold {raw_threshold:g}")


def _mark(chart: Chart, signal: Panel, story: Story) -> None:
    for one in story.events:
        if chart.first <= one.row <= chart.last:
            style = "unscored" if not one.is_scored else "wrong" if one.window is None else "right"
            chart.mark(signal, one.row, one.event.value, style, title_of(one))
