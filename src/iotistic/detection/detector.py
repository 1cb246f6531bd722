"""One stream, one value at a time.

The stream is compared with what is usual at this time of day (several profiles of different fineness). Of
each residual the extremes are kept; the alert score is the mean of how far this sample breaks them, and
counts in full only when one of the classical measures agrees that the value is beyond its limit. Until a day
is known, the extremes of the plain values judge. Missing values and times that make no sense change nothing
but what they must: a value at a wrong time is still a value.
"""

import math
import struct

from iotistic.detection.constants import DAY_S, DEFAULTS, LARGEST, RESOLUTION, Constants
from iotistic.detection.extremes import Extremes
from iotistic.detection.gauges import Gauges
from iotistic.detection.profile import DayProfile

VERSION = 1


class Detector:
    """Scores of one stream; `save` and `restore` keep its state exactly, and so does pickling."""

    __slots__ = (
        "age", "constants", "expected", "extremes", "forecasts", "gauges", "held", "last", "level", "muting",
        "origin", "peak", "plain", "profiles", "quick", "raw", "second", "seen", "value",
    )  # fmt: skip

    def __init__(self, constants: Constants = DEFAULTS) -> None:
        self.constants = constants
        self.profiles = [DayProfile(slots, constants.profile_gain) for slots in constants.slots]
        self.extremes = [Extremes(constants) for _ in constants.slots]
        self.plain = Extremes(constants)
        self.forecasts = Extremes(constants)
        self.gauges = Gauges(constants)
        self.seen = 0
        self.age = constants.mute
        self.origin = self.peak = self.level = self.last = self.second = 0.0
        self.muting = self.held = self.raw = 0.0
        self.quick = self.value = self.expected = 0.0

    @property
    def learning(self) -> bool:
        """Whether the stream is still in its warm-up: no alert can come."""
        return not self.plain.ripe

    def update(self, t: float, value: float, forecast: float | None = None) -> tuple[float, float]:
        """Take one sample in and return (alert score, raw score), both finite and at least 0.

        `t`: seconds since the epoch (UTC). `value`: NaN, infinite or no number at all counts as missing.
        `forecast`: what a model said before this value was known.
        """
        measured = number(value)
        if measured is None:
            return 0.0, self.raw
        second = number(t)
        if second is not None:
            self.second = second % DAY_S % DAY_S  # a tiny negative time gives a whole day once
        if not self.seen:
            self.origin = measured
        x = measured - self.origin
        self.peak = max(self.peak, abs(measured), abs(x))
        floor = self.peak * RESOLUTION
        score, residual = self._judge(x, floor, number(forecast))
        self.value, self.expected = measured, measured - residual
        steady = self.gauges.update(residual, x - self.last if self.seen else 0.0, floor)
        self._learn(x)
        agreement = self.gauges.agreement
        return self._scores(score * (agreement * agreement), steady)

    def _judge(self, x: float, floor: float, forecast: float | None) -> tuple[float, float]:
        """Return the mean score of the judges that are ripe, and the mean residual."""
        plain = self.plain.update(x, floor)
        usual, residuals, total, judges = x - self.level, 0.0, 0.0, 0.0
        for profile, extremes in zip(self.profiles, self.extremes, strict=True):
            residual = profile.residual(self.second, x)
            if residual is None:
                residuals += usual
                continue
            residuals += residual
            total += extremes.update(residual, floor)
            judges += extremes.ripe
        error = None if forecast is None else x - (forecast - self.origin)
        self.gauges.forecast(error, floor)
        weight = self.constants.forecast_weight
        if error is not None and weight:
            total += weight * self.forecasts.update(error, floor)
            judges += weight * self.forecasts.ripe
        residual = residuals / len(self.profiles)
        if judges == 0:
            return plain / len(self.constants.caps), residual
        return total / (judges * len(self.constants.caps)), residual

    def _learn(self, x: float) -> None:
        self.seen += 1
        self.level += (x - self.level) * max(1.0 / self.seen, self.constants.level_gain)
        self.quick += (x - self.quick) * max(1.0 / self.seen, 2.0 / (self.constants.hold + 1))
        self.last = x

    def _scores(self, score: float, steady: float) -> tuple[float, float]:
        constants = self.constants
        held = self.held - self.held / constants.hold
        self.held = max(held, score)
        self.raw = self.held + constants.steady_weight * steady if self.plain.ripe else 0.0
        self.age += 1
        if score > 0.0 and (self.age > constants.mute or score > self.muting):
            self.muting, self.age = score, 0
            return score, self.raw
        return 0.0, self.raw

    def to_list(self) -> list[float]:
        """Return the whole state as numbers; the length depends on the constants only."""
        numbers = [float(getattr(self, name)) for name in SCALARS]
        for part in self._parts():
            numbers += part.to_list()
        return numbers

    def from_list(self, numbers: list[float]) -> None:
        """Take a state back; ValueError when it is of other constants."""
        parts = self._parts()
        sizes = [len(part.to_list()) for part in parts]
        if len(numbers) != len(SCALARS) + sum(sizes):
            raise ValueError("this state was saved with other constants")
        for name, item in zip(SCALARS, numbers, strict=False):
            setattr(self, name, int(item) if name in {"seen", "age"} else item)
        place = len(SCALARS)
        for part, size in zip(parts, sizes, strict=True):
            part.from_list(numbers[place : place + size])
            place += size

    def _parts(self) -> list[DayProfile | Extremes | Gauges]:
        return [self.gauges, self.plain, self.forecasts, *self.extremes, *self.profiles]

    def save(self) -> bytes:
        """Return the state, a few kilobytes: version, then little-endian doubles."""
        numbers = [float(item) for item in self.to_list()]
        return struct.pack(f"<B{len(numbers)}d", VERSION, *numbers)

    @classmethod
    def restore(cls, saved: bytes, constants: Constants = DEFAULTS) -> "Detector":
        """Return the detector that was saved; ValueError when this is no state of these constants."""
        count, rest = divmod(len(saved) - 1, 8)
        if count < 1 or rest or saved[0] != VERSION:
            raise ValueError("this is no saved state of a detector, or one of another version")
        detector = cls(constants)
        numbers = list(struct.unpack_from(f"<{count}d", saved, 1))
        if not all(map(math.isfinite, numbers)):
            raise ValueError("this saved state holds numbers that no detector makes")
        detector.from_list(numbers)
        return detector


SCALARS = (
    "seen", "age", "origin", "peak", "level", "last", "second", "muting", "held", "raw", "quick", "value", "expected",
)  # fmt: skip


def number(given: object) -> float | None:
    """Return a finite float that can be squared, None for everything else."""
    if not isinstance(given, (int, float)):
        try:
            given = float(given)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return None
    return float(given) if -LARGEST < given < LARGEST else None
