"""Series cut into windows of what the network sees, and what it should have said.

The measuring is that of the detection itself, so a network learns from exactly what it will see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from iotistic.detection.detector import number
from iotistic.detection.forecast import INPUTS, LIMIT, READY, Scale
from iotistic.kernel.errors import Invalid

Floats = npt.NDArray[np.float32]
HELD_OUT = 0.2
"""Share of each series' windows, its last ones, that nothing is learned from."""


class DataTooShort(Invalid):
    """There are too few values to learn from."""

    code = "train.data_too_short"


@dataclass(frozen=True, slots=True)
class Windows:
    """Inputs (windows, length, 2) and targets (windows, length): the next step, in ordinary spreads."""

    inputs: Floats
    targets: Floats

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: npt.NDArray[np.int64]) -> "Windows":
        """Return some of them."""
        return Windows(self.inputs[rows], self.targets[rows])


def measured(values: Sequence[float], spread_gain: float) -> tuple[Floats, Floats]:
    """Return inputs (n, 2) and targets (n,) of one series, without the first values and those of no spread."""
    scale = Scale(spread_gain)
    good = [one for one in map(number, values) if one is not None]
    inputs: list[tuple[float, float]] = []
    targets: list[float] = []
    for value, after in pairwise(good):
        unit = scale.measure(value)
        if unit and scale.count >= READY:
            inputs.append((scale.place, scale.step))
            targets.append(min(max((after - value) * unit, -LIMIT), LIMIT))
    return np.array(inputs, dtype=np.float32).reshape(-1, INPUTS), np.array(targets, dtype=np.float32)


def cut(series: Mapping[str, Sequence[float]], *, length: int, spread_gain: float) -> tuple[Windows, Windows]:
    """Return windows to learn from, and held-out ones. Raises DataTooShort unless there is one of each."""
    learned: list[tuple[Floats, Floats]] = []
    held: list[tuple[Floats, Floats]] = []
    for name in sorted(series):
        inputs, targets = measured(series[name], spread_gain)
        count = len(targets) // length
        pairs = [
            (inputs[i * length : (i + 1) * length], targets[i * length : (i + 1) * length])
            for i in range(count)
        ]
        kept = count - round(count * HELD_OUT)
        learned += pairs[:kept]
        held += pairs[kept:]
    if not learned or not held:
        raise DataTooShort(
            f"no series has enough values for windows of {length}, one of them held out",
            hint=f"give at least {3 * length + READY} values of one metric, or a smaller --window",
        )
    return _joined(learned), _joined(held)


def _joined(pairs: Sequence[tuple[Floats, Floats]]) -> Windows:
    return Windows(np.stack([inputs for inputs, _ in pairs]), np.stack([targets for _, targets in pairs]))
