"""What the anomaly detector is compared with: other streaming detectors, set up well for the labelled streams.

A peer that is not installed is said so, with the line that installs it (`INSTALL`). None knows a stream before
it comes. `river` is fed values between 0 and 1, by its own running scaler.
"""

import importlib.util
import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from iotistic.detection import DEFAULTS

INSTALL = "sh scripts/uv.sh sync --frozen --all-extras --group bench-peers"
SHINGLE, TREES, TREE_SIZE = 1, 40, 1024
"""Values that make one point of a forest, trees, points. The best on the labelled streams of six set-ups; with the
usual ones of RRCF's examples (4, 40, 256) NAB is 18.7."""
MOTIF = 48
"""Values of one window of the matrix profile."""


class Scoring(Protocol):
    """What gives two scores for a value."""

    def update(self, t: float, value: float) -> tuple[float, float]:
        """Return alert score and raw score."""
        ...


class ZScore:
    """Distance from the mean of the last 800 values, in their standard deviations."""

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


class HalfSpaceTrees:
    """river's half-space trees over its own running scaler, with its defaults: 10 trees, windows of 250.

    More trees, longer windows and several values at once were worse on the labelled streams.
    """

    def __init__(self) -> None:
        from river import anomaly, preprocessing  # noqa: PLC0415  a peer that need not be there

        self.scaler = preprocessing.MinMaxScaler()
        self.trees = anomaly.HalfSpaceTrees(seed=1)

    def update(self, _t: float, value: float) -> tuple[float, float]:
        """Return the score of the trees twice."""
        self.scaler.learn_one({"x": value})
        point = self.scaler.transform_one({"x": value})
        score = self.trees.score_one(point)
        self.trees.learn_one(point)
        return score, score


class RandomCutForest:
    """A robust random cut forest, 40 trees over the last 1,024 values; our own, compiled."""

    def __init__(self) -> None:
        from numba.typed import List  # noqa: PLC0415

        from benchmarks import detection_forest  # noqa: PLC0415

        self.step = detection_forest.step
        self.forest = List([detection_forest.tree(TREE_SIZE, SHINGLE) for _ in range(TREES)])
        self.window: deque[float] = deque(maxlen=SHINGLE)
        self.seen = 0
        detection_forest.seed(1)

    def update(self, _t: float, value: float) -> tuple[float, float]:
        """Return the mean collusive displacement twice."""
        self.window.append(value)
        if len(self.window) < SHINGLE:
            return 0.0, 0.0
        full = self.seen >= TREE_SIZE
        score = self.step(self.forest, self.seen % TREE_SIZE, full, np.array(self.window))
        self.seen += 1
        return (score, score) if full else (0.0, 0.0)


class MatrixProfile:
    """stumpy's streaming matrix profile: distance of the last 48 values to the nearest of all windows before."""

    def __init__(self) -> None:
        import stumpy  # noqa: PLC0415

        self.begin = stumpy.stumpi
        self.first: list[float] = []
        self.stream: stumpy.stumpi | None = None

    def update(self, _t: float, value: float) -> tuple[float, float]:
        """Return the distance twice."""
        if self.stream is None:
            self.first.append(value)
            if len(self.first) == 2 * MOTIF:
                self.stream = self.begin(np.array(self.first), m=MOTIF, egress=False)
            return 0.0, 0.0
        self.stream.update(value)
        distance = float(self.stream.left_P_[-1])
        score = distance if math.isfinite(distance) else 0.0
        return score, score


@dataclass(frozen=True, slots=True)
class Peer:
    """A detector to be compared with, and the packages that it needs."""

    name: str
    make: Callable[[], Scoring]
    packages: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether its packages are there; nothing is imported."""
        return all(map(importlib.util.find_spec, self.packages))


PEERS = (
    Peer("Z-score of 800 values", ZScore),
    Peer("half-space trees (river)", HalfSpaceTrees, ("river",)),
    Peer("RRCF (own, numba)", RandomCutForest, ("numba",)),
    Peer("matrix profile (stumpy)", MatrixProfile, ("stumpy",)),
)


def one_thread() -> None:
    """Keep compiled peers from spinning on other cores, which would count as their CPU time; before any import."""
    os.environ["NUMBA_NUM_THREADS"] = "1"
