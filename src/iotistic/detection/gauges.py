"""The classical measures of one residual: Z-score, MAD, IQR, rate of change, error of a forecast.

They name what is unusual about a sample and by how much. Quartiles are tracked by small steps, in units of
the ordinary spread, so that no window of values has to be kept.
"""

import math

from iotistic.detection.constants import STEADY_LIMIT, Constants

NORMAL_MAD = 1.4826
"""Spread of a normal distribution in units of its median absolute deviation."""
LIMITS = {"z": 3.0, "mad": 3.0, "iqr": 1.5, "rate": 10.0, "error": 5.0}
"""The customary limit of each measure, in its own unit: measures are compared in shares of it."""
FAR = 1e6
"""Where a deviation ends that has no spread to be measured by."""


class Gauges:
    """Spread, quartiles and steps of one stream. `z`, `mad`, `iqr`, `rate`, `error` are the last sample's."""

    __slots__ = (
        "constants",
        "distance",
        "error",
        "error_size",
        "errors",
        "fast",
        "iqr",
        "lower",
        "mad",
        "measured",
        "middle",
        "rate",
        "slow",
        "step_size",
        "upper",
        "z",
    )  # fmt: skip

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.measured = 0
        self.errors = 0
        self.fast = self.slow = 0.0
        self.lower = self.middle = self.upper = self.distance = 0.0
        self.step_size = self.error_size = 0.0
        self.z = self.mad = self.iqr = self.rate = self.error = 0.0

    @property
    def spread(self) -> float:
        """Ordinary spread of the residual, in units of the stream."""
        return math.sqrt(self.slow)

    def update(self, residual: float, step: float, floor: float) -> float:
        """Measure one sample, then learn from it; return the steady deviation in ordinary spreads."""
        constants = self.constants
        spread = math.sqrt(self.slow)
        self.fast += (residual * residual - self.fast) * (2.0 / (constants.steady_window + 1))
        steady = _ratio(math.sqrt(self.fast), spread, floor)
        self.z = _ratio(abs(residual), spread, floor)
        self.mad = _ratio(abs(residual - self.middle), NORMAL_MAD * self.distance, floor)
        outside = max(self.lower - residual, residual - self.upper, 0.0)
        self.iqr = _ratio(outside, self.upper - self.lower, floor)
        self.rate = _ratio(abs(step), self.step_size, floor)
        self.measured += 1
        self._learn(residual, step, spread)
        return min(STEADY_LIMIT, steady)

    def _learn(self, residual: float, step: float, spread: float) -> None:
        gain = max(1.0 / self.measured, self.constants.level_gain)
        self.slow += (residual * residual - self.slow) * gain
        self.step_size += (abs(step) - self.step_size) * gain
        stride = spread * max(1.0 / self.measured, self.constants.gauge_gain)
        self.lower += stride * (0.25 if residual > self.lower else -0.75)
        self.middle += stride * (0.5 if residual > self.middle else -0.5)
        self.upper += stride * (0.75 if residual > self.upper else -0.25)
        self.distance += stride * (0.5 if abs(residual - self.middle) > self.distance else -0.5)
        self.distance = max(self.distance, 0.0)

    @property
    def agreement(self) -> float:
        """Largest share that a measure of the last sample has of its limit, at most 1."""
        largest = max(
            self.z / LIMITS["z"],
            self.mad / LIMITS["mad"],
            self.iqr / LIMITS["iqr"],
            self.rate / LIMITS["rate"],
        )
        if self.constants.forecast_weight:
            largest = max(largest, self.error / LIMITS["error"])
        return min(largest, 1.0)

    def forecast(self, error: float | None, floor: float) -> None:
        """Measure the error of a forecast, None when there was none."""
        self.error = 0.0
        if error is None:
            return
        self.error = _ratio(abs(error), self.error_size, floor)
        self.errors += 1
        self.error_size += (abs(error) - self.error_size) * max(1.0 / self.errors, self.constants.level_gain)

    def to_list(self) -> list[float]:
        """Return the whole state as numbers."""
        return [getattr(self, name) for name in FIELDS]

    def from_list(self, numbers: list[float]) -> None:
        """Take the state back."""
        for name, number in zip(FIELDS, numbers, strict=True):
            setattr(self, name, int(number) if name in {"measured", "errors"} else number)


FIELDS = tuple(name for name in Gauges.__slots__ if name != "constants")


def _ratio(size: float, unit: float, floor: float) -> float:
    if size <= floor:
        return 0.0
    return min(size / unit, FAR) if unit > floor else FAR
