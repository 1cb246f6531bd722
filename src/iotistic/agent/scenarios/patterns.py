"""Values of simulated sensors: pure functions of time and a seed, so that an hour is tested in no time."""

import math
from collections.abc import Callable
from typing import NamedTuple

from iotistic.agent.scenarios import chance
from iotistic.agent.scenarios.model import Pattern
from iotistic.agent.scenarios.quantities import Quantity
from iotistic.agent.sensors.reading import Quality

_DAY_S, _HOUR_S = 86_400.0, 3600.0
_STEP_S = 60.0
_RARE, _FAULTS = 0.05, 0.15
_FAULT_S = 60.0
_DRIFT_S = 3600.0
_DRIFT_REACH = 6.0
_SPIKE = 5.0
_NOISY = 3.0


class Sample(NamedTuple):
    """What a sensor shows; no value when it does not answer."""

    value: float | None
    quality: Quality = Quality.GOOD


class Moment(NamedTuple):
    """When, of which device, and how long what repeats takes. `at` in seconds since 1970."""

    at: float
    seed: int
    period_s: float

    @property
    def tick(self) -> int:
        """A number for this instant, to draw by."""
        return math.floor(self.at * 1000)

    @property
    def phase(self) -> float:
        """Where it is in its period, from 0 to 1."""
        return (self.at / self.period_s + chance.unit(self.seed, 1)) % 1.0


def sample(quantity: Quantity, pattern: Pattern, at: float, seed: int, period_s: float = 300.0) -> Sample:
    """Return what the sensor shows at a time; the same for the same arguments, whenever it is asked."""
    moment = Moment(at, chance.seed_of(seed, quantity.metric), period_s)
    if pattern is Pattern.FAULTY:
        return _faulty(quantity, moment)
    return Sample(quantity.bounded(_VALUES[pattern](quantity, moment)))


def _realistic(quantity: Quantity, moment: Moment) -> float:
    wave = math.cos((moment.at / _HOUR_S - quantity.peak_h) / 24 * math.tau)
    wander = chance.sway(moment.seed, moment.at, _STEP_S)
    flicker = chance.bell(moment.seed, 2, moment.tick)
    offset = chance.bell(moment.seed, 3)  # no two rooms are the same
    return quantity.base + quantity.variance * (0.55 * wave + 0.2 * wander + 0.1 * offset + 0.02 * flicker)


def _random(quantity: Quantity, moment: Moment) -> float:
    return quantity.least + (quantity.most - quantity.least) * chance.unit(moment.seed, 4, moment.tick)


def _sine(quantity: Quantity, moment: Moment) -> float:
    return quantity.base + quantity.variance * math.sin(moment.phase * math.tau)


def _spiking(sign: int) -> Callable[[Quantity, Moment], float]:
    def value(quantity: Quantity, moment: Moment) -> float:
        rare = chance.unit(moment.seed, 5, moment.tick) < _RARE
        reach = sign * _SPIKE * quantity.variance * (1 + chance.unit(moment.seed, 6, moment.tick))
        return _realistic(quantity, moment) + (reach if rare else 0.0)

    return value


def _drift(quantity: Quantity, moment: Moment) -> float:
    return _realistic(quantity, moment) + quantity.variance * _DRIFT_REACH * (moment.at % _DRIFT_S) / _DRIFT_S


def _cyclic(quantity: Quantity, moment: Moment) -> float:
    """Rise for a fifth of the period, stay for two, fall for a fifth, rest for one."""
    place = moment.phase * 5
    level = max(0.0, min(place, 1.0, 4.0 - place))
    return quantity.base + quantity.variance * (
        2 * level - 1 + 0.02 * chance.bell(moment.seed, 7, moment.tick)
    )


def _noisy(quantity: Quantity, moment: Moment) -> float:
    return _realistic(quantity, moment) + quantity.variance * _NOISY * chance.bell(
        moment.seed, 8, moment.tick
    )


def _extreme(quantity: Quantity, moment: Moment) -> float:
    return quantity.most if moment.phase >= 0.5 else quantity.least  # noqa: PLR2004


def _faulty(quantity: Quantity, moment: Moment) -> Sample:
    window = math.floor(moment.at / _FAULT_S)
    drawn = chance.unit(moment.seed, 9, window)
    good = quantity.bounded(_realistic(quantity, moment))
    if drawn >= _FAULTS:
        return Sample(good)
    if drawn < _FAULTS / 3:
        return Sample(None, Quality.BAD)
    if drawn < _FAULTS * 2 / 3:
        return Sample(quantity.bounded(quantity.most), Quality.UNCERTAIN)
    stuck = moment._replace(at=window * _FAULT_S)
    return Sample(quantity.bounded(_realistic(quantity, stuck)), Quality.UNCERTAIN)


_VALUES: dict[Pattern, Callable[[Quantity, Moment], float]] = {
    Pattern.REALISTIC: _realistic,
    Pattern.RANDOM: _random,
    Pattern.SINE: _sine,
    Pattern.SPIKE: _spiking(1),
    Pattern.DROP: _spiking(-1),
    Pattern.DRIFT: _drift,
    Pattern.CYCLIC: _cyclic,
    Pattern.NOISY: _noisy,
    Pattern.EXTREME: _extreme,
}
