"""How good the anomaly detector is on labelled streams, what a sample costs, and how wide its plateaus are.

Scores need `NAB_DATA` (see detection_data.py); cost is measured without. Thresholds are the frozen ones of
detection.json. `reference` is a Z-score over the last 800 values on the same data in the same run, for a
plateau the figure with the constants as they are.
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.detection_data import (
    LabelledData,
    LabelledDataMissing,
    Rows,
    Scores,
    as_scores,
    labelled_data,
)
from benchmarks.framework import Report, at_least, at_most
from iotistic.detection import DEFAULTS, Constants, Detector
from iotistic.detection.bank import Bank

CHOSEN: dict[str, float] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
FACTORS = (0.5, 0.7, 1.4, 2.0)
SCALED = ("profile_gain", "forget", "mean_gain", "level_gain", "gauge_gain", "warm_up", "mute")
SLOTS = ((24,), (12, 48), (24, 48, 96), (16, 36, 72), (12, 24, 48, 96, 144))
CAPS = ((0.25,), (0.1, 0.2, 0.4), (0.2, 0.3), (0.15, 0.3, 0.6))
RAW = ("hold", "steady_window", "steady_weight")
BANK_STREAMS = 1000


class Scoring(Protocol):
    """What gives two scores for a value."""

    def update(self, t: float, value: float) -> tuple[float, float]:
        """Return alert score and raw score."""
        ...


class ZScore:
    """The peer: distance from the mean of the last 800 values, in their standard deviations."""

    def __init__(self) -> None:
        self.window: deque[float] = deque(maxlen=800)
        self.total = self.squares = self.origin = 0.0

    def update(self, _t: float, value: float) -> tuple[float, float]:
        """Return the Z-score twice."""
        if not self.window:
            self.origin = value
        x, count = value - self.origin, len(self.window)
        mean = self.total / max(count, 1)
        variance = self.squares / max(count, 1) - mean * mean
        score = abs(x - mean) / math.sqrt(variance) if count > DEFAULTS.warm_up and variance > 0 else 0.0
        if count == self.window.maxlen:
            self.total -= self.window[0]
            self.squares -= self.window[0] ** 2
        self.window.append(x)
        self.total += x
        self.squares += x * x
        return score, score


def run(quick: bool, report: Report) -> None:
    _cost(report)
    try:
        data = labelled_data()
    except LabelledDataMissing as missing:
        report.progress(f"[bold]no scores[/bold]: {missing}; {missing.hint}")
        return
    report.progress(f"{len(data.rows)} labelled series, {data.samples:,} samples")
    alerts, raws = _scores(report, data)
    if not quick:
        _plateaus(report, data, alerts, raws)


def _cost(report: Report) -> None:
    rows = _made_rows(20_000)
    peer_us, own_us = _us_per_sample(ZScore(), rows), _us_per_sample(Detector(), rows)
    report.add("a sample", own_us, "us", reference=peer_us, goal=at_most(25))
    bank, values = Bank(BANK_STREAMS), np.array([value for _, value in rows[: BANK_STREAMS * 20]])
    began = time.process_time()
    for tick, some in enumerate(values.reshape(-1, BANK_STREAMS)):
        bank.step(tick * 300.0, some)
    bank_us = (time.process_time() - began) / len(values) * 1e6
    report.add(f"a sample, bank of {BANK_STREAMS}", bank_us, "us", reference=own_us)
    detector = Detector()
    for t, value in rows:
        detector.update(t, value)
    report.add("saved state of a stream", len(detector.save()) / 1024, "KiB", goal=at_most(64))


def _made_rows(count: int) -> Rows:
    chance = random.Random(1)
    return [(i * 300.0, chance.gauss(20, 1) + math.sin(i * math.tau / 288)) for i in range(count)]


def _us_per_sample(detector: Scoring, rows: Rows) -> float:
    began = time.process_time()
    for t, value in rows:
        detector.update(t, value)
    return (time.process_time() - began) / len(rows) * 1e6


def _judged(data: LabelledData, make: Callable[[], Scoring]) -> tuple[Scores, Scores]:
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, rows in data.rows.items():
        update = make().update
        pairs[name] = [update(t, value) for t, value in rows]
    return as_scores(pairs)


def _scores(report: Report, data: LabelledData) -> tuple[Scores, Scores]:
    """Report all scores at the frozen thresholds; the peer has the best of its own."""
    alerts, raws = _judged(data, Detector)
    peer, _ = _judged(data, ZScore)
    threshold, raw_threshold = CHOSEN["threshold"], CHOSEN["raw_threshold"]
    report.add("NAB standard", data.nab(alerts, threshold), "", reference=data.nab(peer), goal=at_least(76))
    report.add("NAB standard, best threshold", data.nab(alerts), "", reference=data.nab(peer))
    for profile in ("low_fp", "low_fn"):
        other = data.nab(peer, profile=profile)
        report.add(f"NAB {profile}", data.nab(alerts, threshold, profile), "", reference=other)
    mean, spread = data.halves(alerts)
    peer_mean, peer_spread = data.halves(peer)
    report.add("NAB of 24 halves, mean", mean, "", reference=peer_mean)
    report.add("NAB of 24 halves, spread", spread, "", reference=peer_spread)
    peer_at = data.scorer.best_event_threshold(data.series, peer)
    peer_f1 = data.event_f1(peer, peer_at)
    report.add("event F1, alert", data.event_f1(alerts, threshold), "", reference=peer_f1)
    report.add("event F1, raw", data.event_f1(raws, raw_threshold), "", reference=peer_f1)
    report.add("VUS-PR", data.vus_pr(raws), "", reference=data.vus_pr(peer), goal=at_least(0.32))
    return alerts, raws


def _plateaus(report: Report, data: LabelledData, alerts: Scores, raws: Scores) -> None:
    """Report the figures beside each constant: wide plateaus are what makes them fit other data."""
    middle, vus = data.halves(alerts)[0], data.vus_pr(raws)
    for factor in FACTORS:
        threshold = CHOSEN["threshold"] * factor
        report.add(f"NAB, threshold {threshold:.3g}", data.nab(alerts, threshold), "", reference=middle)
    for title, constants in _variants():
        varied, _ = _judged(data, lambda one=constants: Detector(one))
        report.add(f"halves, {title}", data.halves(varied)[0], "", reference=middle)
    for name in RAW:
        for factor in FACTORS:
            constants = _scaled(name, factor)
            _, varied = _judged(data, lambda one=constants: Detector(one))
            title = f"VUS-PR, {name} {getattr(constants, name):.3g}"
            report.add(title, data.vus_pr(varied), "", reference=vus)


def _variants() -> list[tuple[str, Constants]]:
    found = [
        (f"{name} {getattr(one, name):.3g}", one)
        for name in SCALED
        for one in (_scaled(name, factor) for factor in FACTORS)
    ]
    found += [(f"slots {slots}", replace(DEFAULTS, slots=slots)) for slots in SLOTS]
    return found + [(f"caps {caps}", replace(DEFAULTS, caps=caps)) for caps in CAPS]


def _scaled(name: str, factor: float) -> Constants:
    value = getattr(DEFAULTS, name) * factor
    return replace(DEFAULTS, **{name: round(value) if isinstance(getattr(DEFAULTS, name), int) else value})
