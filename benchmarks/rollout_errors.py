"""By how much predictions of updates were off, and what part of that nobody could have known.

The error of a device is what was wrong in percent of what came, without a sign: too long here does not make up for
too short there. Beside it stands the error with one figure for all devices, their median: what a prediction that
knows nothing of single devices is worth. Devices whose agent was killed during the update cannot tell all of it, so
they are not compared, and counted.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.framework import Report, at_most, percentile

MOST_ERROR = 5.0
_FOUR_OF_FIVE = 80.0


def compare(parts: list[Any], report: Report) -> None:
    """Report the errors of the devices of a rollout that succeeded."""
    told = [one for one in parts if one["compared"] is not None]
    found = [one["compared"] for one in told]
    report.add("devices whose steps were told in full", 100 * len(found) / max(len(parts), 1), "%")
    _add("steps", [one["stepsErrorPercent"] for one in found], report)
    was = [sum(one["actual"]["downtimeS"].values()) for one in told]
    expected = [sum(one["predicted"]["downtimeS"].values()) for one in told]
    errors = [one["downtimeErrorPercent"] for one in found if one["downtimeErrorPercent"] is not None]
    _add("downtime", errors, report, reference=_of_one_figure(was))
    if sum(was):
        together = 100 * abs(sum(expected) - sum(was)) / sum(was)
        report.add(
            "downtime of all devices together, error",
            together,
            "%",
            reference=MOST_ERROR,
            goal=at_most(MOST_ERROR),
        )
        report.add("actual downtime, median", statistics.median(was), "s")
        report.add("actual downtime, longest", max(was), "s")
    within = [one["downtimeWithinRange"] for one in found if one["downtimeWithinRange"] is not None]
    if within:
        share = 100 * sum(within) / len(within)
        report.add("downtimes within the range that was told", share, "%", reference=_FOUR_OF_FIVE)


def compare_apart(who: str, parts: list[Any], report: Report) -> None:
    """Report the errors of downtimes of some of them."""
    found = [one["compared"]["downtimeErrorPercent"] for one in parts if one["compared"] is not None]
    errors = [error for error in found if error is not None]
    report.add(f"downtime of {who}, mean error", sum(errors) / max(len(errors), 1), "%")
    report.add(f"downtime of {who}, p95 of devices", percentile(errors, 95), "%")


def _add(what: str, errors: list[float], report: Report, reference: float = MOST_ERROR) -> None:
    name = f"predicted against actual {what}"
    mean = sum(errors) / len(errors) if errors else float("nan")
    report.add(f"{name}, mean error", mean, "%", reference=reference, goal=at_most(MOST_ERROR))
    report.add(f"{name}, median error", percentile(errors, 50), "%")
    report.add(f"{name}, p95 of devices", percentile(errors, 95), "%")


def _of_one_figure(was: Sequence[float]) -> float:
    """Return the mean error in percent with the median for everybody."""
    seconds = [one for one in was if one]
    if not seconds:
        return float("nan")
    middle = statistics.median(seconds)
    return 100 * sum(abs(middle - one) / one for one in seconds) / len(seconds)
