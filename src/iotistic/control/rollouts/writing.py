"""Predictions and comparisons as rows and answers write them. Pure."""

from collections.abc import Mapping
from typing import Any, cast

from iotistic.control.rollouts.predicting import Prediction


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


def summary(prediction: Prediction, size: int | None) -> dict[str, Any]:
    """Return what is kept beside a part, to be compared with what came."""
    return {
        "steps": prediction.count(),
        "laterSteps": prediction.count(later=True),
        "downtimeS": dict(prediction.downtime_s),
        "seconds": prediction.seconds,
        "bytesToFetch": size if prediction.fetches else 0,
    }


def compared(predicted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by how much a prediction was off, None without an actual figure for the whole update."""
    if not actual.get("steps") or not actual.get("complete", True):
        return None
    steps, took = _counts(predicted.get("steps")), _counts(actual.get("steps"))
    off = sum(abs(steps.get(name, 0) - took.get(name, 0)) for name in steps.keys() | took.keys())
    expected, was = (sum(_counts(one.get("downtimeS")).values()) for one in (predicted, actual))
    return {
        "stepsOff": off,
        "stepsErrorPercent": round(100 * off / max(sum(took.values()), 1), 2),
        "downtimeErrorS": round(expected - was, 3),
        "downtimeErrorPercent": round(100 * abs(expected - was) / was, 2) if was else None,
    }


def _counts(value: object) -> dict[str, float]:
    listed = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {})
    return {
        name: float(count)
        for name, count in listed.items()
        if isinstance(count, int | float) and not isinstance(count, bool)
    }
