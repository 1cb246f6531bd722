"""What the detector saw in each labelled series: scores, what it expected, events, and what they are worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.detection_data import LabelledData
from iotistic.detection import Detector, Event
from iotistic.detection.events import EXPECTED_SPREADS, describe

Floats = npt.NDArray[np.float64]
FALSE_ALERT = 0.11
"""What NAB standard takes for an alert outside, where a window found in time gives 1."""


@dataclass(frozen=True, slots=True)
class Window:
    """A labelled window and the first alert in it, None when it was missed."""

    first: int
    last: int
    found: int | None
    is_scored: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An event at a row; `window` counts from 0, None: it is outside of all."""

    row: int
    event: Event
    window: int | None
    is_scored: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """How good it is on one series; NaN where a series has no label. `lost` is in points of the whole score."""

    nab: float
    event_f1: float
    vus_pr: float
    false_alerts: int
    lost: float


@dataclass(frozen=True, slots=True)
class Story:
    """One series as the detector saw it: a number for each row, and what it told."""

    name: str
    times: Sequence[float]
    values: Floats
    alerts: Floats
    raws: Floats
    lows: Floats
    highs: Floats
    warm_up: int
    windows: tuple[Window, ...]
    events: tuple[Told, ...]
    figures: Figures


def stories(data: LabelledData, threshold: float) -> list[Story]:
    """Feed every series to a detector and return what it saw."""
    windows = data.scorer.Nab(data.series, "standard").count
    return [_story(data, one, threshold, windows) for one in data.series]


def _story(data: LabelledData, series: object, threshold: float, windows: int) -> Story:
    name: str = series.id  # type: ignore[attr-defined]  the scorer's own class
    ranges: list[tuple[int, int]] = series.ranges  # type: ignore[attr-defined]
    warm_up: int = series.warmup  # type: ignore[attr-defined]
    rows, seen = data.rows[name], []
    detector, events = Detector(), []
    for row, (t, value) in enumerate(rows):
        spread = detector.gauges.spread
        alert, raw = detector.update(t, value)
        off = EXPECTED_SPREADS * spread
        seen.append((value, alert, raw, detector.expected - off, detector.expected + off))
        if alert >= threshold:
            inside = next((i for i, (a, b) in enumerate(ranges) if a <= row <= b), None)
            event = describe(name, t, detector, alert / threshold, spread)
            events.append(Told(row, event, inside, row >= warm_up))
    numbers = np.array(seen, dtype=np.float64).T
    hits = [one.row for one in events if one.is_scored]
    return Story(
        name,
        [t for t, _ in rows],
        *numbers,
        warm_up=warm_up,
        windows=tuple(
            Window(a, b, next((row for row in hits if a <= row <= b), None), b >= warm_up) for a, b in ranges
        ),
        events=tuple(events),
        figures=_figures(data, series, numbers, threshold, windows),
    )


def _figures(data: LabelledData, series: object, numbers: Floats, threshold: float, windows: int) -> Figures:
    name: str = series.id  # type: ignore[attr-defined]
    nab = data.scorer.Nab([series], "standard")
    at = nab.at({name: numbers[1]}, threshold)
    event_f1 = data.scorer.event_f1([series], {name: numbers[1]}, threshold)["f1"] if nab.count else math.nan
    vus_pr = data.scorer.vus_pr(series, numbers[2])
    # A window counts from -1 (missed) to 1 (found at its first row), in all 2 for each of all series.
    raw = 2 * nab.count * (1 - at["score"] / 100) if nab.count else FALSE_ALERT * at["false_alert_rows"]
    return Figures(
        nab=at["score"],
        event_f1=event_f1,
        vus_pr=math.nan if vus_pr is None else vus_pr,
        false_alerts=at["false_alert_rows"],
        lost=100 * raw / (2 * windows) if windows else math.nan,
    )
