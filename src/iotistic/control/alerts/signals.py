"""What each reading says of a condition: it is breached, it is over, or neither (the band of hysteresis).

A signal carries on what it needs of the readings before in a few bytes, so that a batch may end anywhere.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iotistic.control.alerts.conditions import Anomaly, RateOfChange
from iotistic.detection import Detector

CLEAR, HOLD, BREACH = 0, 1, 2

_POINT = np.dtype([("at", "<i8"), ("value", "<f8")])
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Signal:
    """A level and a value to show for each reading, and what to carry on."""

    levels: npt.NDArray[np.int8]
    shown: npt.NDArray[np.float64]
    memory: bytes = b""


def limits(
    values: npt.NDArray[np.float64], above: float | None, below: float | None, hysteresis: float
) -> Signal:
    """Compare with limits; a value that is no number decides nothing."""
    breach = np.zeros(len(values), np.bool_)
    clear = ~np.isnan(values)
    if above is not None:
        breach |= values > above
        clear &= values <= above - hysteresis
    if below is not None:
        breach |= values < below
        clear &= values >= below + hysteresis
    return Signal(_levels(breach, clear), values)


def rate(
    condition: RateOfChange, memory: bytes, times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> Signal:
    """Compare each reading with the oldest one in its window; the change is what is shown."""
    kept = np.frombuffer(memory, _POINT)
    points = np.empty(len(kept) + len(times), _POINT)
    points["at"] = np.concatenate((kept["at"], times))
    points["value"] = np.concatenate((kept["value"], values))
    window_us = round(condition.window_s * _SECOND_US)
    oldest = np.searchsorted(points["at"], times - window_us)
    with np.errstate(invalid="ignore", over="ignore"):
        change = values - points["value"][oldest]
    upper = condition.rises_by
    lower = None if condition.falls_by is None else -condition.falls_by
    levels = limits_reached(change, upper, lower, condition.hysteresis)
    first = int(np.searchsorted(points["at"], points["at"][-1:] - window_us)[0]) if len(points) else 0
    return Signal(levels, change, points[first:].tobytes())


def limits_reached(
    change: npt.NDArray[np.float64], upper: float | None, lower: float | None, hysteresis: float
) -> npt.NDArray[np.int8]:
    """Compare with limits that are themselves breaches."""
    breach = np.zeros(len(change), np.bool_)
    clear = ~np.isnan(change)
    if upper is not None:
        breach |= change >= upper
        clear &= change < upper - hysteresis
    if lower is not None:
        breach |= change <= lower
        clear &= change > lower + hysteresis
    return _levels(breach, clear)


def unusual(
    condition: Anomaly, memory: bytes, times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> Signal:
    """Let the detector judge, one reading after another; it learns as it goes."""
    detector = Detector.restore(memory) if memory else Detector()
    levels = np.full(len(times), HOLD, np.int8)
    for place, (at, value) in enumerate(zip((times / _SECOND_US).tolist(), values.tolist(), strict=True)):
        alert, raw = detector.update(at, value)
        if alert >= condition.score:
            levels[place] = BREACH
        elif raw < condition.ends_below:
            levels[place] = CLEAR
    return Signal(levels, values, detector.save() if len(times) else memory)


def _levels(breach: npt.NDArray[np.bool_], clear: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    return np.where(breach, BREACH, np.where(clear, CLEAR, HOLD)).astype(np.int8)
