"""Predictions and comparisons as rows and answers write them. Pure."""

from collections.abc import Mapping
from typing import Any, cast

from iotistic.control.rollouts.predicting import Prediction
from iotistic.control.rollouts.spread import Spread


def write_prediction(prediction: Prediction, size: int | None) -> dict[str, Any]:
    """Return a prediction in full: the steps in their order."""
    return {
        "steps": [
            {
                "step": one.step,
                "subject": one.subject,
                "why": one.why,
                "atS": one.at_s,
                "seconds": one.seconds,
                "later": one.later,
            }
            for one in prediction.steps
        ],
        "bytesToFetch": size if prediction.fetches else 0,
        "images": list(prediction.fetches),
        "downtimeS": dict(prediction.downtime_s),
        "seconds": prediction.seconds,
        "settles": prediction.settles,
        "waitsFor": list(prediction.waits),
    }


def write_expected(prediction: Prediction, spread: Spread | None) -> dict[str, Any]:
    """Return what a device will take; the range holds four of five, null while nobody knows how wide it is."""
    downtime_s = dict(prediction.downtime_s)
    return {
        "seconds": prediction.seconds,
        "downtimeS": downtime_s,
        "downtimeRangeS": {key: list(spread.of(s)) for key, s in downtime_s.items()} if spread else None,
    }


def summary(prediction: Prediction, size: int | None, spread: Spread | None = None) -> dict[str, Any]:
    """Return what is kept beside a part, to be compared with what came."""
    return {
        "learned": not prediction.guessed,
        **write_expected(prediction, spread),
        "steps": prediction.count(),
        "laterSteps": prediction.count(later=True),
        "bytesToFetch": size if prediction.fetches else 0,
    }


def compared(predicted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by how much a prediction was off, None without an actual figure for the whole update.

    Errors in percent are of what came, and add up over kinds of steps and over services: too much here does not
    make up for too little there. What tidies up a minute after the update may be told by now, or not yet.
    """
    if not actual.get("steps") or not actual.get("complete", True):
        return None
    steps, took = _counts(predicted.get("steps")), _counts(actual.get("steps"))
    later = _counts(predicted.get("laterSteps"))
    off = sum(
        max(least - took.get(name, 0), took.get(name, 0) - least - later.get(name, 0), 0)
        for name, least in (dict.fromkeys(took, 0.0) | steps).items()
    )
    expected, was = _counts(predicted.get("downtimeS")), _counts(actual.get("downtimeS"))
    off_s = sum(abs(expected.get(key, 0) - was.get(key, 0)) for key in expected.keys() | was.keys())
    down_s = sum(was.values())
    return {
        "stepsOff": off,
        "stepsErrorPercent": round(100 * off / max(sum(took.values()), 1), 2),
        "downtimeErrorS": round(sum(expected.values()) - down_s, 3),
        "downtimeErrorPercent": round(100 * off_s / down_s, 2) if down_s else None,
        "downtimeWithinRange": _is_within(predicted.get("downtimeRangeS"), was),
    }


def _is_within(ranges: object, was: Mapping[str, float]) -> bool | None:
    """Say whether each service was down for a time within its range, None where none was told."""
    if not isinstance(ranges, Mapping) or not ranges:
        return None
    told = cast("Mapping[str, list[float]]", ranges)
    return told.keys() == was.keys() and all(low <= was[key] <= high for key, (low, high) in told.items())


def _counts(value: object) -> dict[str, float]:
    listed = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {})
    return {
        name: float(count)
        for name, count in listed.items()
        if isinstance(count, int | float) and not isinstance(count, bool)
    }
