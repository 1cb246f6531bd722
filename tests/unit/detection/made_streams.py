"""Streams with a known story: five-minute values over days, made from a seed."""

import json
import math
import random
from pathlib import Path

from iotistic.detection import Event, Thresholds, Watch

START = 1_700_006_400.0
STEP_S = 300.0
DAY = 288

_CHOSEN = json.loads((Path(__file__).parents[3] / "benchmarks" / "detection.json").read_text())
THRESHOLDS = Thresholds(alert=_CHOSEN["threshold"], raw=_CHOSEN["raw_threshold"])


def noise(days: int, *, seed: int = 1, level: float = 20.0, spread: float = 1.0) -> list[float]:
    """Values of even noise, at most `spread` from the level."""
    chance = random.Random(seed)
    return [level + chance.uniform(-spread, spread) for _ in range(days * DAY)]


def season(days: int, *, seed: int = 1) -> list[float]:
    """A wave of a day, ten times as high as its noise."""
    rough = noise(days, seed=seed)
    return [value + 10 * math.sin(i * 2 * math.pi / DAY) for i, value in enumerate(rough)]


def times(values: list[float]) -> list[float]:
    return [START + i * STEP_S for i in range(len(values))]


def watch(values: list[float], thresholds: Thresholds = THRESHOLDS) -> list[tuple[int, Event]]:
    """Return (row, event) of all events of a stream."""
    one = Watch("cpu", thresholds)
    told = [one.update(t, value) for t, value in zip(times(values), values, strict=True)]
    return [(row, event) for row, event in enumerate(told) if event]


def rows_after(values: list[float], row: int) -> list[int]:
    """Return the rows of events from `row` on."""
    return [at for at, _ in watch(values) if at >= row]
