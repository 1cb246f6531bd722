"""The frozen thresholds, and the labelled streams fed to a detector of one's choice."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.detection_data import LabelledData, Scores, as_scores
from benchmarks.detection_peers import Scoring

CHOSEN: dict[str, float] = json.loads((Path(__file__).parent / "detection.json").read_text(encoding="utf-8"))


def judged(data: LabelledData, make: Callable[[], Scoring]) -> tuple[Scores, Scores]:
    """Return alert scores and raw scores of every series, each by a fresh detector."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, rows in data.rows.items():
        update = make().update
        pairs[name] = [update(t, value) for t, value in rows]
    return as_scores(pairs)
