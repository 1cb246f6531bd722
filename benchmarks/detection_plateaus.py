"""How the figures change beside each constant: wide plateaus are what makes constants fit other data.

Every constant is measured at 0.5, 0.7, 1.4 and 2 times its value, the others as they are; sets of values (slots, caps)
are scaled as a whole, and beside that other sets are tried. What only the raw score uses is judged by VUS-PR, the
rest by the mean over 24 splits.
"""

from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from benchmarks.detection_compare import processes
from benchmarks.detection_data import LabelledData, Scores, labelled_data
from benchmarks.detection_feed import CHOSEN, judged
from benchmarks.framework import Report
from iotistic.detection import DEFAULTS, Constants, Detector

FACTORS = (0.5, 0.7, 1.4, 2.0)
SCALED = (
    "slots",
    "profile_gain",
    "caps",
    "forget",
    "mean_gain",
    "level_gain",
    "gauge_gain",
    "warm_up",
    "mute",
)
RAW = ("hold", "steady_window", "steady_weight")
SLOTS = ((24,), (12, 48), (24, 48, 96), (16, 36, 72), (12, 24, 48, 96, 144))
CAPS = ((0.25,), (0.1, 0.2, 0.4), (0.2, 0.3), (0.15, 0.3, 0.6))


class Point(NamedTuple):
    """A figure at a value of a constant; `factor` is None for another set."""

    label: str
    factor: float | None
    value: float


@dataclass(frozen=True, slots=True)
class Plateau:
    """One constant: what is measured, its value with the constants as they are (and its spread), and beside."""

    name: str
    figure: str
    usual: float
    points: tuple[Point, ...]
    spread: float = 0.0


class _Job(NamedTuple):
    name: str
    figure: str
    label: str
    factor: float | None
    constants: Constants


def plateaus(report: Report, data: LabelledData, alerts: Scores, raws: Scores) -> list[Plateau]:
    """Measure beside each constant, report the figures, and return what is to be drawn."""
    mean, spread = data.halves(alerts)
    usual = {"halves": mean, "VUS-PR": data.vus_pr(raws)}
    jobs = [*_scalings(), *_others()]
    report.progress(f"{len(jobs)} runs beside the constants")
    found: dict[_Job, float] = {}
    with processes() as pool:
        waiting = {pool.submit(_measured, job.constants, job.figure): job for job in jobs}
        for done in as_completed(waiting):
            job = waiting[done]
            found[job] = done.result()
            report.progress(f"{len(found)} of {len(jobs)}: {job.figure}, {job.name} {job.label}")
    drawn = _thresholds(data, alerts, raws)
    for name, figure in dict.fromkeys((job.name, job.figure) for job in jobs):
        points = tuple(
            Point(job.label, job.factor, found[job])
            for job in jobs
            if (job.name, job.figure) == (name, figure)
        )
        drawn.append(Plateau(name, figure, usual[figure], points, spread if figure == "halves" else 0.0))
    for one in drawn:
        for point in one.points:
            report.add(f"{one.figure}, {one.name} {point.label}", point.value, "", reference=one.usual)
    return drawn


def _thresholds(data: LabelledData, alerts: Scores, raws: Scores) -> list[Plateau]:
    alert, raw = CHOSEN["threshold"], CHOSEN["raw_threshold"]
    scaled = [(factor, alert * factor, raw * factor) for factor in FACTORS]
    return [
        Plateau(
            "alert threshold",
            "NAB",
            data.nab(alerts, alert),
            tuple(Point(f"{one:.3g}", factor, data.nab(alerts, one)) for factor, one, _ in scaled),
        ),
        Plateau(
            "raw threshold",
            "event F1",
            data.event_f1(raws, raw),
            tuple(Point(f"{one:.3g}", factor, data.event_f1(raws, one)) for factor, _, one in scaled),
        ),
    ]


def _scalings() -> list[_Job]:
    figures = dict.fromkeys(SCALED, "halves") | dict.fromkeys(RAW, "VUS-PR")
    jobs: list[_Job] = []
    for name, figure in figures.items():
        for factor in FACTORS:
            constants = scaled(name, factor)
            jobs.append(_Job(name, figure, _label(getattr(constants, name)), factor, constants))
    return jobs


def _others() -> list[_Job]:
    slots = [_Job("other slots", "halves", _label(one), None, replace(DEFAULTS, slots=one)) for one in SLOTS]
    return slots + [
        _Job("other caps", "halves", _label(one), None, replace(DEFAULTS, caps=one)) for one in CAPS
    ]


def _label(value: float | tuple[float, ...]) -> str:
    return " ".join(f"{one:.3g}" for one in value) if isinstance(value, tuple) else f"{value:.3g}"


def scaled(name: str, factor: float) -> Constants:
    """Return the constants with one of them times a factor; whole numbers stay whole."""
    value = getattr(DEFAULTS, name)
    changed = (
        tuple(_times(one, factor) for one in value) if isinstance(value, tuple) else _times(value, factor)
    )
    return replace(DEFAULTS, **{name: changed})


def _times(value: float, factor: float) -> float:
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


@cache
def _data() -> LabelledData:
    """Return the labelled streams, read once in each process."""
    return labelled_data()


def _measured(constants: Constants, figure: str) -> float:
    data = _data()
    alerts, raws = judged(data, lambda: Detector(constants))
    return data.vus_pr(raws) if figure == "VUS-PR" else data.halves(alerts)[0]
