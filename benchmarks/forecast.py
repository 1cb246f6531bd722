"""What a trained forecaster adds to the anomaly detector, and what a forecast costs.

Honestly split: labelled streams are forecast by networks that never saw their site (five folds over sites, one
network each), and labels are used by no training at all. `reference` is the detector without forecasts on the
same streams in the same run. Scores need `NAB_DATA` (see detection_data.py) and the extra `train`; cost is
measured without.
"""

import importlib.util
import random
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.detection_data import (
    LabelledData,
    LabelledDataMissing,
    Scores,
    as_scores,
    labelled_data,
    site,
)
from benchmarks.detection_feed import CHOSEN
from benchmarks.framework import Report, at_most
from iotistic.detection import DEFAULTS, Constants, Detector
from iotistic.detection.extremes import Extremes
from iotistic.detection.forecast import ForecastStream, Weights
from iotistic.detection.forecast_bank import ForecastBank
from iotistic.detection.gauges import LIMITS, Gauges
from iotistic.training.recipe import Recipe
from iotistic.training.windows import cut

FOLDS = 5
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
SEEDS = (0, 1)
BANK_STREAMS = 1000
SAMPLES = 20_000
Forecasts = Mapping[str, list[float | None]]


class Alone:
    """The forecast as the only judge: extremes of its error, with the muting of the detector."""

    def __init__(self, constants: Constants = DEFAULTS) -> None:
        self.constants = constants
        self.extremes, self.gauges = Extremes(constants), Gauges(constants)
        self.age, self.muting, self.held, self.peak, self.raw = constants.mute, 0.0, 0.0, 0.0, 0.0

    def update(self, value: float, forecast: float | None) -> tuple[float, float]:
        """Return alert score and raw score."""
        if forecast is None:
            return 0.0, 0.0
        self.peak = max(self.peak, abs(value))
        floor, error = self.peak * 1e-12, value - forecast
        steady = self.gauges.update(error, 0.0, floor)
        self.gauges.forecast(error, floor)
        share = min(self.gauges.error / LIMITS["error"], 1.0)
        score = self.extremes.update(error, floor) / len(self.constants.caps) * share * share
        self.held = max(self.held - self.held / self.constants.hold, score)
        self.age += 1
        raw = self.held + self.constants.steady_weight * steady if self.extremes.ripe else 0.0
        if score > 0.0 and (self.age > self.constants.mute or score > self.muting):
            self.muting, self.age = score, 0
            return score, raw
        return 0.0, raw


def run(quick: bool, report: Report) -> None:
    _cost(report)
    if quick:
        return
    try:
        data = labelled_data()
    except LabelledDataMissing as missing:
        report.progress(f"[bold]no scores[/bold]: {missing}; {missing.hint}")
        return
    if importlib.util.find_spec("jax") is None:
        report.progress("[bold]no scores[/bold]: JAX is not installed; pip install 'iotistic[train]'")
        return
    for seed in SEEDS:
        _scores(report, data, seed)


def _cost(report: Report) -> None:
    weights = _random_weights()
    chance = np.random.default_rng(1)
    values = chance.normal(size=SAMPLES).cumsum().tolist()
    plain, judged, stream = Detector(), Detector(), ForecastStream(weights)
    began = time.process_time()
    for i, value in enumerate(values):
        plain.update(i * 300.0, value)
    without = (time.process_time() - began) / SAMPLES * 1e6
    began = time.process_time()
    for i, value in enumerate(values):
        judged.update(i * 300.0, value, stream.expected)
        stream.update(value)
    both = (time.process_time() - began) / SAMPLES * 1e6
    report.add("a sample with its forecast", both, "us", reference=without, goal=at_most(25))
    bank, rows = ForecastBank(weights, BANK_STREAMS), np.array(values).reshape(-1, BANK_STREAMS)
    began = time.process_time()
    for row in rows:
        bank.step(row)
    banked = (time.process_time() - began) / SAMPLES * 1e6
    report.add(f"a forecast, bank of {BANK_STREAMS}", banked, "us", reference=both - without)
    state = (len(judged.save()) + len(stream.save())) / 1024
    report.add("saved state of a stream", state, "KiB", goal=at_most(64))


def _random_weights() -> Weights:
    units, chance = Recipe().units, np.random.default_rng(2)
    kernel = chance.normal(0, 0.3, (4 * units, units + 3))
    return Weights(kernel, chance.normal(0, 0.3, units + 1), Recipe().spread_gain)


def _scores(report: Report, data: LabelledData, seed: int) -> None:
    said = _out_of_fold(report, data, seed)
    usual = _judged(data, {}, DEFAULTS)
    judged = [(f"weight {weight:g}", _judged(data, said, _with(weight))) for weight in WEIGHTS]
    _add(report, f"seed {seed}, LSTM alone", data, _alone(data, said), usual)
    for title, scores in judged:
        _add(report, f"seed {seed}, {title}", data, scores, usual)


def _with(weight: float) -> Constants:
    return replace(DEFAULTS, forecast_weight=weight)


def _add(
    report: Report,
    title: str,
    data: LabelledData,
    scores: tuple[Scores, Scores],
    usual: tuple[Scores, Scores],
) -> None:
    (alerts, raws), (other, other_raws) = scores, usual
    mean, spread = data.halves(alerts)
    report.add(f"halves, {title}", mean, "", reference=data.halves(other)[0])
    report.add(f"halves, spread, {title}", spread, "", reference=data.halves(other)[1])
    here, there = (data.nab(one, CHOSEN["threshold"]) for one in (alerts, other))
    report.add(f"NAB, {title}", here, "", reference=there)
    report.add(f"VUS-PR, {title}", data.vus_pr(raws), "", reference=data.vus_pr(other_raws))


def _judged(data: LabelledData, said: Forecasts, constants: Constants) -> tuple[Scores, Scores]:
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, rows in data.rows.items():
        update = Detector(constants).update
        forecasts = said.get(name) or [None] * len(rows)
        pairs[name] = [update(t, value, one) for (t, value), one in zip(rows, forecasts, strict=True)]
    return as_scores(pairs)


def _alone(data: LabelledData, said: Forecasts) -> tuple[Scores, Scores]:
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, rows in data.rows.items():
        update = Alone().update
        pairs[name] = [update(value, one) for (_, value), one in zip(rows, said[name], strict=True)]
    return as_scores(pairs)


def _out_of_fold(report: Report, data: LabelledData, seed: int) -> Forecasts:
    """Return forecasts of every series by a network that was trained on other sites only."""
    sites = sorted({site(name) for name in data.rows})
    random.Random(seed).shuffle(sites)
    said: dict[str, list[float | None]] = {}
    for fold in range(FOLDS):
        unseen = set(sites[fold::FOLDS])
        known = {name: rows for name, rows in data.rows.items() if site(name) not in unseen}
        weights, gain = _trained({name: [value for _, value in rows] for name, rows in known.items()}, seed)
        report.progress(f"seed {seed}, fold {fold + 1} of {FOLDS}: {gain:.0%} below no change, held out")
        for name in data.rows.keys() - known.keys():
            stream, said[name] = ForecastStream(weights), []
            for _, value in data.rows[name]:
                said[name].append(stream.expected)
                stream.update(value)
    return said


def _trained(series: Mapping[str, list[float]], seed: int) -> tuple[Weights, float]:
    from iotistic.training.fitting import fit  # noqa: PLC0415  the cost is measured without JAX

    recipe = Recipe(seed=seed)
    fitted = fit(*cut(series, length=recipe.window, spread_gain=recipe.spread_gain), recipe)
    return fitted.weights, fitted.about["figures"]["gain"]
