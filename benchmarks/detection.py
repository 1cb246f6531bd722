"""How good the anomaly detector is on labelled streams, what a sample costs, and how wide its plateaus are.

Scores need `NAB_DATA` (see detection_data.py); cost is measured without. Thresholds are the frozen ones of
detection.json. `reference` is a Z-score over the last 800 values on the same data in the same run; for a peer
and for a plateau the detector as it is. With `--report` it writes pages that show every series.
"""

import math
import random
import time
from pathlib import Path

import numpy as np

from benchmarks.detection_compare import compare
from benchmarks.detection_data import LabelledData, LabelledDataMissing, Rows, Scores, labelled_data
from benchmarks.detection_feed import CHOSEN, judged
from benchmarks.detection_pages import Material, write
from benchmarks.detection_peers import Scoring, ZScore
from benchmarks.detection_plateaus import Plateau, plateaus
from benchmarks.detection_story import stories
from benchmarks.framework import Report, at_least, at_most
from iotistic.detection import Detector
from iotistic.detection.bank import Bank

WRITES_PAGES = True
BANK_STREAMS = 1000
THRESHOLDS = (CHOSEN["threshold"], CHOSEN["raw_threshold"])
FORECASTS = "What a trained LSTM adds, alone and in the ensemble, is measured by: iotistic bench forecast"


def run(quick: bool, report: Report) -> None:
    _cost(report)
    try:
        data = labelled_data()
    except LabelledDataMissing as missing:
        why = f"{missing}; {missing.hint}"
        report.progress(f"[bold]no scores[/bold]: {why}")
        _show(report, Material(THRESHOLDS, report.results, missing=why))
        return
    report.progress(f"{len(data.rows)} labelled series, {data.samples:,} samples")
    alerts, raws = _scores(report, data)
    standings = [] if quick else compare(report, data)
    beside: list[Plateau] = plateaus(report, data, alerts, raws) if report.plateaus else []
    report.progress(FORECASTS)
    notes = [FORECASTS]
    if quick:
        notes.append("Other detectors were not run: they are without --quick.")
    if not beside:
        notes.append(
            "Plateaus of the constants were not measured: they are with --plateaus, which takes minutes."
        )
    if report.pages:
        report.progress("drawing every series")
        told = stories(data, CHOSEN["threshold"])
        _show(report, Material(THRESHOLDS, report.results, told, standings, beside, notes))


def _show(report: Report, material: Material) -> None:
    if report.pages:
        size = write(report.pages, material)
        report.progress(f"pages: {Path(report.pages) / 'index.html'} ({size / 1e6:.1f} MB in all)")


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


def _scores(report: Report, data: LabelledData) -> tuple[Scores, Scores]:
    """Report all scores at the frozen thresholds; the peer has the best of its own."""
    alerts, raws = judged(data, Detector)
    peer, _ = judged(data, ZScore)
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
