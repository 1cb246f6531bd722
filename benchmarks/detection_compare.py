"""The detector and its peers on the same labelled streams in the same run, each with thresholds of its own.

Every detector stands here twice: as it is, and with the muting of ours (after an alert only a higher score counts,
for 100 samples), since a detector that repeats itself is fined for each repetition. Peers are fed in processes of
their own, one series at a time; CPU time is that of the calls alone, without compiling.
"""

import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.detection_data import LabelledData, Rows, Scores
from benchmarks.detection_peers import INSTALL, PEERS, Peer, Scoring, one_thread
from benchmarks.framework import Report
from iotistic.detection import DEFAULTS, Detector

OURS = Peer("ours", Detector)
ALL = (OURS, *PEERS)
WARMING = 300
_warm: set[str] = set()


@dataclass(frozen=True, slots=True)
class Standing:
    """Figures of one detector on all series; NaN where there is none. The threshold of each is its best."""

    name: str
    is_installed: bool = True
    nab: float = math.nan
    nab_muted: float = math.nan
    halves: tuple[float, float] = (math.nan, math.nan)
    halves_muted: tuple[float, float] = (math.nan, math.nan)
    event_f1: float = math.nan
    vus_pr: float = math.nan
    sample_us: float = math.nan


def compare(report: Report, data: LabelledData) -> list[Standing]:
    """Feed ours and every peer that is installed, report their figures, and return them."""
    fed = _feed_all(report, data)
    found = [_standing(one, data, *fed[one.name]) for one in ALL if one.name in fed]
    found += [Standing(one.name, is_installed=False) for one in ALL if one.name not in fed]
    for one in found[1:]:
        if one.is_installed:
            _add(report, one, found[0])
        else:
            report.progress(f"[bold]{one.name}[/bold] is not installed: {INSTALL}")
    report.tables.append(table(found))
    return found


def muted(alerts: npt.NDArray[np.float64], mute: int = DEFAULTS.mute) -> npt.NDArray[np.float64]:
    """Return scores as our detector mutes them: for `mute` samples after one only a higher one is kept."""
    kept = np.zeros_like(alerts)
    age, last = mute, 0.0
    for row, score in enumerate(alerts.tolist()):
        age += 1
        if score > 0.0 and (age > mute or score > last):
            kept[row] = last = score
            age = 0
    return kept


def table(standings: list[Standing]) -> Table:
    """Return the figures of all of them beside each other."""
    found = Table(
        box=None, pad_edge=False, header_style="bold", title="best thresholds", title_justify="left"
    )
    for column in ("detector", "NAB", "halves, mean ± spread", "event F1", "VUS-PR", "us a sample"):
        found.add_column(column, justify="left" if column == "detector" else "right")
    for cells in lines(standings):
        found.add_row(*cells)
    return found


def lines(standings: list[Standing]) -> Iterator[tuple[str, ...]]:
    """Return the cells of the comparison; of one that is missing, its name and how to install it."""
    for one in standings:
        if not one.is_installed:
            yield (one.name, "not installed:", INSTALL)
            continue
        rest = (f"{one.event_f1:.2f}", f"{one.vus_pr:.3f}", f"{one.sample_us:.1f}")
        yield (one.name, f"{one.nab:.1f}", _spread(one.halves), *rest)
        if one.name != OURS.name:
            yield (
                f"{one.name}, muted as ours",
                f"{one.nab_muted:.1f}",
                _spread(one.halves_muted),
                "",
                "",
                "",
            )


def _spread(found: tuple[float, float]) -> str:
    return f"{found[0]:.1f} ± {found[1]:.1f}"


def _add(report: Report, one: Standing, ours: Standing) -> None:
    """Report a peer's figures; `reference` is ours."""
    report.add(f"NAB, {one.name}", one.nab, "", reference=ours.nab)
    report.add(f"NAB, {one.name}, muted", one.nab_muted, "", reference=ours.nab)
    for title, theirs in (("", one.halves), (", muted", one.halves_muted)):
        report.add(f"halves, {one.name}{title}", theirs[0], "", reference=ours.halves[0])
        report.add(f"halves, spread, {one.name}{title}", theirs[1], "", reference=ours.halves[1])
    report.add(f"event F1, {one.name}", one.event_f1, "", reference=ours.event_f1)
    report.add(f"VUS-PR, {one.name}", one.vus_pr, "", reference=ours.vus_pr)
    report.add(f"a sample, {one.name}", one.sample_us, "us", reference=ours.sample_us)


def _standing(peer: Peer, data: LabelledData, alerts: Scores, raws: Scores, sample_us: float) -> Standing:
    quiet = alerts if peer is OURS else {name: muted(one) for name, one in alerts.items()}
    at = data.scorer.best_event_threshold(data.series, alerts)
    return Standing(
        peer.name,
        nab=data.nab(alerts),
        nab_muted=data.nab(quiet),
        halves=data.halves(alerts),
        halves_muted=data.halves(quiet),
        event_f1=data.event_f1(alerts, at),
        vus_pr=data.vus_pr(raws),
        sample_us=sample_us,
    )


def _feed_all(report: Report, data: LabelledData) -> dict[str, tuple[Scores, Scores, float]]:
    """Return alert scores, raw scores and microseconds a sample of every detector that is installed."""
    installed = [one for one in ALL if one.is_installed]
    scores: dict[str, dict[str, npt.NDArray[np.float64]]] = {one.name: {} for one in installed}
    spent = dict.fromkeys(scores, 0.0)
    with processes() as pool:
        jobs = {
            pool.submit(_feed, peer.name, peer.make, rows): (peer.name, series)
            for peer in installed
            for series, rows in data.rows.items()
        }
        for job in as_completed(jobs):
            peer, series = jobs[job]
            scores[peer][series], cpu_s = job.result()
            spent[peer] += cpu_s
            if len(scores[peer]) == len(data.rows):
                report.progress(f"{peer}: all {len(data.rows)} series")
    return {
        name: (
            {series: block[:, 0] for series, block in blocks.items()},
            {series: block[:, 1] for series, block in blocks.items()},
            spent[name] / data.samples * 1e6,
        )
        for name, blocks in scores.items()
    }


def processes() -> ProcessPoolExecutor:
    """Return a pool with a fresh process for each core."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(os.cpu_count(), mp_context=fresh, initializer=_begin)


def _begin() -> None:
    one_thread()
    warnings.simplefilter("ignore")  # what a peer warns of is its own matter, thirty times


def _feed(name: str, make: Callable[[], Scoring], rows: Rows) -> tuple[npt.NDArray[np.float64], float]:
    """Return the scores of one series, and the CPU seconds of the calls."""
    if name not in _warm:
        update = make().update
        for t, value in rows[:WARMING]:
            update(t, value)
        _warm.add(name)
    update = make().update
    began = time.process_time()
    found = [update(t, value) for t, value in rows]
    spent = time.process_time() - began
    return np.array(found, dtype=np.float64), spent
