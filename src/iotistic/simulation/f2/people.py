"""People who come and go, and what they set off: card, strike, door and motion, in that order.

A visit is a little plan of events made when it begins. Somebody who leaves presses the exit button
instead of showing a card.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_VISITS_PER_HOUR_BY_DAY, _VISITS_PER_HOUR_BY_NIGHT = 40.0, 4.0
_DAY_S, _OPENS_AT_H, _CLOSES_AT_H = 86_400, 7, 19
_MOST_INSIDE = 12
_CARDS = 40
STRIKE_OPEN_S = 5
MOTION_SENSORS = 5


class Happening(Enum):
    """What can happen at a door."""

    CARD = "card"
    BUTTON = "button"
    STRIKE = "strike"
    DOOR = "door"
    MOTION = "motion"


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something happens at `time_us`: at door or sensor `number` a state becomes `active`, or a card is read."""

    time_us: int
    sequence: int
    happening: Happening
    number: int
    active: bool = True
    card: str = ""


class People:
    """Everybody who uses one controller's two doors."""

    __slots__ = ("_chance", "_seen_us", "_sequence", "inside")

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._seen_us: int | None = None
        self._sequence = 0
        self.inside = 0

    def until(self, time_us: int) -> list[Event]:
        """Return the events of visits that began since the last call; some lie after `time_us`."""
        since_us, self._seen_us = self._seen_us, time_us
        if since_us is None or time_us <= since_us:
            return []
        hours = (time_us - since_us) / 3.6e9
        if self._chance.random() >= 1 - math.exp(-hours * _visits_per_hour(time_us)):
            return []
        leaves = self.inside > 0 and self._chance.random() < self.inside / _MOST_INSIDE
        self.inside += -1 if leaves else 1
        return list(self._visit(time_us, leaves=leaves))

    def _visit(self, time_us: int, *, leaves: bool) -> Iterator[Event]:
        chance = self._chance
        door, sensor = chance.randint(1, 2), chance.randint(1, MOTION_SENSORS)
        opens, closes = chance.uniform(0.5, 1.5), chance.uniform(2.5, 4.5)
        rests = closes + chance.uniform(5, 25)
        if leaves:
            yield self._event(time_us, 0, Happening.BUTTON, door)
            yield self._event(time_us, 0.4, Happening.BUTTON, door, active=False)
        else:
            card = f"{0x04A2_0000 + chance.randrange(_CARDS):010d}"
            yield self._event(time_us, 0, Happening.CARD, door, card=card)
        yield self._event(time_us, 0.1, Happening.STRIKE, door)
        yield self._event(time_us, opens, Happening.DOOR, door)
        yield self._event(time_us, opens + 0.3, Happening.MOTION, sensor)
        yield self._event(time_us, closes, Happening.DOOR, door, active=False)
        yield self._event(time_us, STRIKE_OPEN_S, Happening.STRIKE, door, active=False)
        yield self._event(time_us, rests, Happening.MOTION, sensor, active=False)

    def _event(
        self,
        time_us: int,
        after_s: float,
        happening: Happening,
        number: int,
        *,
        active: bool = True,
        card: str = "",
    ) -> Event:
        self._sequence += 1
        return Event(time_us + round(after_s * 1e6), self._sequence, happening, number, active, card)


def _visits_per_hour(time_us: int) -> float:
    hour = time_us / 1e6 % _DAY_S / 3600
    return _VISITS_PER_HOUR_BY_DAY if _OPENS_AT_H <= hour < _CLOSES_AT_H else _VISITS_PER_HOUR_BY_NIGHT
