"""A folder of labelled streams like the one that `NAB_DATA` names, small, with a scorer of its own."""

import csv
import datetime as dt
import json
import math
import random
from pathlib import Path

SCORER = '''
import json
import numpy as np


class Series:
    def __init__(self, sid, n, ranges):
        self.id, self.n, self.ranges, self.warmup, self.kind = sid, n, ranges, n // 10, "window"


def load_data(folder):
    with open(folder + "/labels.json", encoding="utf-8") as file:
        found = json.load(file)["series"]
    return [Series(sid, one["rows"], [tuple(pair) for pair in one["ranges"]]) for sid, one in found.items()]


class Nab:
    """Share of windows found, less a tenth for each false row."""

    def __init__(self, series, profile):
        self.series, self.count = series, sum(len(one.ranges) for one in series)

    def at(self, alerts, threshold):
        found = false = 0
        for one in self.series:
            hit = alerts[one.id] >= threshold
            hit[: one.warmup] = False
            for a, b in one.ranges:
                found += bool(hit[a : b + 1].any())
                hit[a : b + 1] = False
            false += int(hit.sum())
        score = 100 * (found - 0.1 * false) / self.count if self.count else float("nan")
        return {"score": score, "windows_found": found, "windows": self.count, "false_alert_rows": false}

    def best(self, alerts):
        levels = (0.01, 0.1, 0.5, 5.0)
        return max((self.at(alerts, one)["score"], one) for one in levels)


def event_f1(series, scores, threshold):
    return {"f1": 0.5}


def best_event_threshold(series, scores):
    return 0.5


def vus_pr(one, raw):
    return 0.25 if one.ranges else None
'''
START = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)


def labelled_folder(folder: Path, names: list[str], *, rows: int = 900) -> Path:
    """Write one series for each name: noise, with a jump in a labelled window of all but the last."""
    (folder / "dev" / "series").mkdir(parents=True)
    (folder / "score.py").write_text(SCORER, encoding="utf-8")
    labels: dict[str, object] = {}
    for number, name in enumerate(names):
        chance = random.Random(number)
        at = rows * 3 // 4
        values = [chance.gauss(10, 1) + math.sin(row / 40) + 40 * (row == at) for row in range(rows)]
        with (folder / "dev" / "series" / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(("timestamp", "value"))
            for row, value in enumerate(values):
                moment = START + dt.timedelta(minutes=5 * row)
                lines.writerow((moment.strftime("%Y-%m-%d %H:%M:%S"), value))
        ranges = [] if name == names[-1] else [[at - 20, at + 20]]
        labels[name] = {"rows": rows, "ranges": ranges}
    text = json.dumps({"kind": "window", "series": labels})
    (folder / "dev" / "labels.json").write_text(text, encoding="utf-8")
    return folder
