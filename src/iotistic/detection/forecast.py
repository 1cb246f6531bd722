"""What a small LSTM says that the next value of a stream will be.

```
value -> level, spread -> [place, step] -> LSTM -> how far the next value is from this one
```
The network sees where a value lies and how far it is from the one before, both in units of the stream's
ordinary spread, and the way up is the way of the stream's first step. So other units, signs and days give the
same forecasts. The weights are shared by all streams; a stream keeps two short vectors and a few numbers.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iotistic.detection.constants import RESOLUTION
from iotistic.detection.detector import number

Floats = npt.NDArray[np.float64]
INPUTS = 2
"""Place and step."""
LIMIT = 8.0
"""Inputs and targets end at this many ordinary spreads: one spike must not fill the memory of a cell."""
READY = 20
"""Values after which there is a forecast; the spread means little before."""
_VERSION = 1
_GATES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """An LSTM with one output. Gates stand in the order input, forget, output, candidate.

    kernel: (4 * units, inputs + units + 1), the last column is the bias; output: (units + 1,), the last is the
    bias. All finite.
    """

    kernel: Floats
    output: Floats
    spread_gain: float
    """Gain of level and spread, once as many values are known."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together, and what is no number; ValueError says which."""
        units = len(self.output) - 1
        if self.output.ndim != 1 or units < 1 or self.kernel.shape != (_GATES * units, INPUTS + units + 1):
            raise ValueError("the weights do not fit together: kernel (4u, 3 + u), output (u + 1)")
        if not (np.isfinite(self.kernel).all() and np.isfinite(self.output).all()):
            raise ValueError("the weights hold something that is no number")
        if not 0 < self.spread_gain <= 1:
            raise ValueError("spread_gain is a share of one sample: above 0, at most 1")

    @property
    def units(self) -> int:
        """Size of the two vectors that a stream keeps."""
        return len(self.output) - 1


def halved(weights: Weights) -> Floats:
    """Return the kernel with its three gates halved: sigmoid(z) is 0.5 + 0.5 * tanh(z / 2), one tanh for all."""
    kernel = np.ascontiguousarray(weights.kernel, dtype=np.float64).copy()
    kernel[: 3 * weights.units] *= 0.5
    return kernel


class Scale:
    """What a stream's values are measured by: its level, its ordinary spread, and the way of its first step."""

    __slots__ = ("count", "gain", "last", "level", "origin", "peak", "place", "sign", "step", "variance")

    def __init__(self, gain: float) -> None:
        self.gain = gain
        self.count = 0
        self.origin = self.peak = self.level = self.variance = self.last = self.sign = 0.0
        self.place = self.step = 0.0

    def measure(self, measured: float) -> float:
        """Take a value in, set `place` and `step`; return spreads per unit (signed), 0 while all are the same."""
        if not self.count:
            self.origin = self.last = measured
        x = measured - self.origin
        step = x - (self.last - self.origin)
        self.last = measured
        self.peak = max(self.peak, abs(measured), abs(x))
        floor = self.peak * RESOLUTION
        if not self.sign and abs(step) > floor:
            self.sign = 1.0 if step > 0.0 else -1.0
        self.count += 1
        gain = max(1.0 / self.count, self.gain)
        off = x - self.level
        self.level += off * gain
        off_now = x - self.level
        self.variance += (off * off_now - self.variance) * gain
        spread = math.sqrt(self.variance)
        if spread <= floor:
            return 0.0
        unit = self.sign / spread
        self.place = min(max(off_now * unit, -LIMIT), LIMIT)
        self.step = min(max(step * unit, -LIMIT), LIMIT)
        return unit


class ForecastStream:
    """Forecasts of one stream; `expected` is for the value to come, None while too little is known.

    `save` and `restore` keep the state exactly, and so does pickling (with the weights in it).
    """

    __slots__ = ("_cell", "_gates", "_input", "_kernel", "_out", "_squashed", "expected", "scale", "weights")

    def __init__(self, weights: Weights) -> None:
        units = weights.units
        self.weights = weights
        self.scale = Scale(weights.spread_gain)
        self.expected: float | None = None
        self._kernel = halved(weights)
        self._out = np.ascontiguousarray(weights.output[:units], dtype=np.float64)
        self._input = np.zeros(INPUTS + units + 1)
        self._input[-1] = 1.0
        self._cell, self._squashed = np.zeros(units), np.zeros(units)
        self._gates = np.zeros(_GATES * units)

    def update(self, value: float) -> None:
        """Take one value in; what is no measurement changes nothing."""
        measured = number(value)
        if measured is None:
            return
        scale = self.scale
        unit = scale.measure(measured)
        ahead = self._step(scale.place, scale.step) / unit if unit else 0.0
        self.expected = measured + ahead if scale.count >= READY else None

    def _step(self, place: float, step: float) -> float:
        """Step the network; return how far the next value will be from this one, in spreads."""
        units, given, gates, cell = self.weights.units, self._input, self._gates, self._cell
        given[0], given[1] = place, step
        np.dot(self._kernel, given, out=gates)
        np.tanh(gates, out=gates)
        shares = gates[: 3 * units]
        shares *= 0.5
        shares += 0.5
        cell *= gates[units : 2 * units]
        gates[:units] *= gates[3 * units :]
        cell += gates[:units]
        np.tanh(cell, out=self._squashed)
        hidden = given[INPUTS:-1]
        np.multiply(gates[2 * units : 3 * units], self._squashed, out=hidden)
        return float(np.dot(self._out, hidden)) + float(self.weights.output[-1])

    def to_list(self) -> list[float]:
        """Return the whole state as numbers."""
        told = [self.expected is not None, self.expected or 0.0]
        numbers = [float(getattr(self.scale, name)) for name in SCALARS]
        return [*map(float, told), *numbers, *self._cell.tolist(), *self._input[INPUTS:-1].tolist()]

    def from_list(self, numbers: list[float]) -> None:
        """Take a state back; ValueError when it is of weights of another size."""
        units, first = self.weights.units, 2 + len(SCALARS)
        if len(numbers) != first + 2 * units:
            raise ValueError("this state was saved with weights of another size")
        self.expected = numbers[1] if numbers[0] else None
        for name, item in zip(SCALARS, numbers[2:first], strict=True):
            setattr(self.scale, name, int(item) if name == "count" else item)
        self._cell[:] = numbers[first : first + units]
        self._input[INPUTS:-1] = numbers[first + units :]

    def save(self) -> bytes:
        """Return the state, some hundred bytes: version, then little-endian doubles."""
        numbers = self.to_list()
        return struct.pack(f"<B{len(numbers)}d", _VERSION, *numbers)

    @classmethod
    def restore(cls, saved: bytes, weights: Weights) -> "ForecastStream":
        """Return the stream that was saved; ValueError when this is no state for these weights."""
        count, rest = divmod(len(saved) - 1, 8)
        if count < 1 or rest or saved[0] != _VERSION:
            raise ValueError("this is no saved state of a forecast, or one of another version")
        numbers = struct.unpack_from(f"<{count}d", saved, 1)
        if not np.isfinite(numbers).all():
            raise ValueError("this saved state holds numbers that no forecast makes")
        stream = cls(weights)
        stream.from_list(list(numbers))
        return stream

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as weights and state: both exact."""
        return _restored, (self.weights, self.to_list())


SCALARS = ("count", "origin", "peak", "level", "variance", "last", "sign")


def _restored(weights: Weights, numbers: list[float]) -> ForecastStream:
    stream = ForecastStream(weights)
    stream.from_list(numbers)
    return stream
