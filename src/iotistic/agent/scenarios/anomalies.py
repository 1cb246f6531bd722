"""Which metric is disturbed when, and by how much: pure functions of time and a seed."""

import math
from typing import NamedTuple

from iotistic.agent.scenarios import chance
from iotistic.agent.scenarios.model import AnomalyInjection, Pattern
from iotistic.agent.scenarios.quantities import Quantity

_PER_MAGNITUDE = 0.5


class Onset(NamedTuple):
    """An anomaly of one metric: the number of its interval, and how far it is, from 0 to 1."""

    number: int
    progress: float


def onset(injection: AnomalyInjection, metric: str, at: float, seed: int) -> Onset | None:
    """Return the anomaly that a metric has at a time, None when it has none."""
    number = math.floor(at / injection.every_s)
    into = at - number * injection.every_s
    if metric not in injection.metrics or into >= injection.lasts_s:
        return None
    if chance.unit(chance.seed_of(seed, metric), 11, number) >= injection.rate:
        return None
    return Onset(number, into / injection.lasts_s)


def disturbed(  # noqa: C901  one arm for each pattern
    injection: AnomalyInjection, quantity: Quantity, value: float, at: float, seed: int
) -> float | None:
    """Return the value that takes the place of one that would be normal, None while it is to stay.

    The value of a spike is 1 + magnitude / 2 times the normal one, that of a drop the same part of it.
    """
    begun = onset(injection, quantity.metric, at, seed)
    if begun is None:
        return None
    size = _PER_MAGNITUDE * injection.magnitude
    drawn = chance.unit(chance.seed_of(seed, quantity.metric), 12, math.floor(at * 1000))
    away = max(abs(value), quantity.variance)
    wave = math.sin(begun.progress * math.tau)
    match injection.pattern:
        case Pattern.SPIKE:
            changed = value + away * size
        case Pattern.DROP:
            changed = value - away * size / (1 + size)
        case Pattern.DRIFT:
            changed = value + away * size * begun.progress
        case Pattern.REALISTIC:
            changed = value + quantity.variance * size
        case Pattern.SINE | Pattern.CYCLIC:
            changed = value + away * size * wave
        case Pattern.NOISY:
            changed = value + away * size * (2 * drawn - 1)
        case Pattern.RANDOM:
            changed = quantity.least + (quantity.most - quantity.least) * drawn
        case Pattern.FAULTY:
            changed = quantity.least if drawn < 0.5 else value  # noqa: PLR2004
        case Pattern.EXTREME:
            changed = quantity.most - (quantity.most - quantity.least) * 0.02
    return quantity.bounded(changed)
