"""Labelled streams from outside the repository, with the scorer that stands beside them.

`NAB_DATA` names a folder with `score.py` and `dev/` (`labels.json`, `series/<id>.csv`). Nothing of it is
kept here: the figures are the only thing that leaves it.
"""

import csv
import datetime as dt
import importlib.util
import os
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from types import ModuleType

import numpy as np
import numpy.typing as npt

from iotistic.kernel.errors import Unavailable

Scores = Mapping[str, npt.NDArray[np.float64]]
Rows = list[tuple[float, float]]
SPLITS = 24
SITES = ("exchange-4", "6005", "t4013")
"""Series with one of these in their id come from one site: a split keeps them together."""
LEAST_SITES = 2
HINT = "set NAB_DATA to a folder with score.py, dev/labels.json and dev/series/*.csv"


class LabelledDataMissing(Unavailable):
    """The labelled streams are not in the repository."""

    code = "bench.labelled_data_missing"


class LabelledData:
    """The series, their labels and the scorer."""

    def __init__(self, folder: Path) -> None:
        self.scorer = _module(folder / "score.py")
        self.series = self.scorer.load_data(str(folder / "dev"))
        if len({site(one.id) for one in self.series}) < LEAST_SITES:
            raise LabelledDataMissing(
                f"NAB_DATA: {folder / 'dev' / 'labels.json'} names too few series: halves need {LEAST_SITES} sites",
                hint=HINT,
            )
        self.rows = {one.id: _read(folder / "dev" / "series" / f"{one.id}.csv") for one in self.series}
        self._halves = [
            (self.scorer.Nab(one, "standard"), self.scorer.Nab(other, "standard"))
            for one, other in self._splits()
        ]

    @property
    def samples(self) -> int:
        """Number of values in all series."""
        return sum(map(len, self.rows.values()))

    def nab(self, alerts: Scores, threshold: float | None = None, profile: str = "standard") -> float:
        """Return the NAB score at a threshold, at the best one when none is given."""
        nab = self.scorer.Nab(self.series, profile)
        found: float = nab.best(alerts)[0] if threshold is None else nab.at(alerts, threshold)["score"]
        return found

    def event_f1(self, scores: Scores, threshold: float) -> float:
        """Return the event F1 at a threshold."""
        found: float = self.scorer.event_f1(self.series, scores, threshold)["f1"]
        return found

    def vus_pr(self, raws: Scores) -> float:
        """Return the mean VUS-PR of the series that have labels."""
        found = [self.scorer.vus_pr(one, raws[one.id]) for one in self.series]
        return fmean(one for one in found if one is not None)

    def halves(self, alerts: Scores) -> tuple[float, float]:
        """Return mean and spread of NAB on one half with the threshold of the other, over random splits."""
        found = [other.at(alerts, one.best(alerts)[1])["score"] for one, other in self._halves]
        return fmean(found), pstdev(found)

    def _splits(self) -> list[tuple[list[object], list[object]]]:
        chance = random.Random(7)
        sites = sorted({site(one.id) for one in self.series})
        splits: list[tuple[list[object], list[object]]] = []
        for _ in range(SPLITS):
            chance.shuffle(sites)
            first = set(sites[: len(sites) // 2])
            splits.append(
                (
                    [one for one in self.series if site(one.id) in first],
                    [one for one in self.series if site(one.id) not in first],
                )
            )
        return splits


def labelled_data() -> LabelledData:
    """Return the data that `NAB_DATA` names; LabelledDataMissing when it is not there."""
    given = os.environ.get("NAB_DATA")
    if not given:
        raise LabelledDataMissing(
            "NAB_DATA is not set: the labelled streams are not in the repository", hint=HINT
        )
    folder = Path(given)
    for part in (folder / "score.py", folder / "dev" / "labels.json"):
        if not part.is_file():
            raise LabelledDataMissing(f"NAB_DATA: there is no {part}", hint=HINT)
    return LabelledData(folder)


def as_scores(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[Scores, Scores]:
    """Return alert scores and raw scores of every series."""
    blocks = {name: np.array(one, dtype=np.float64) for name, one in pairs.items()}
    return {n: block[:, 0] for n, block in blocks.items()}, {n: block[:, 1] for n, block in blocks.items()}


def site(name: str) -> str:
    """Return the site of a series: those of one are alike, and are never split."""
    return next((site for site in SITES if site in name), name)


def _read(path: Path) -> Rows:
    if not path.is_file():
        raise LabelledDataMissing(f"NAB_DATA: there is no {path}", hint=HINT)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines, None)
        try:
            return [(_seconds(stamp), float(value)) for stamp, value in lines]
        except ValueError as exc:
            raise LabelledDataMissing(
                f"NAB_DATA: {path}, line {lines.line_num}: {exc}", hint="each line is timestamp,value"
            ) from exc


def _seconds(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp).replace(tzinfo=dt.UTC).timestamp()


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("labelled_data_scorer", path)
    if spec is None or spec.loader is None:
        raise LabelledDataMissing(f"NAB_DATA: {path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder is not ours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
    return module
