"""What a storm's commits say: when each device was live again, and how late live readings were meanwhile.

A reading is live when its device was connected as it was measured; before that it belongs to the backlog.
Only climate sensors count: what doors do is told in the next round, so its times say nothing about delays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.storm_watch import Committed, Int64s

_NEVER = np.iinfo(np.int64).max
_BYSTANDER, _OTHER = -1, -2


@dataclass(frozen=True)
class Came:
    """Who came back when: the controller whose sensor each device id is, and each controller's time."""

    controller: Int64s
    back_us: Int64s

    @classmethod
    def of(cls, devices: list[tuple[int, str | None, str | None]], back_us: dict[str, int]) -> "Came":
        """Take device ids with their own MAC and the one of their controller, and when controllers came back."""
        place = {mac: number for number, mac in enumerate(back_us)}
        table = np.full(max(device for device, *_ in devices) + 1, _BYSTANDER, np.int64)
        for device, own, controller in devices:
            table[device] = place[controller] if controller else _OTHER if own else _BYSTANDER
        return cls(table, np.array(list(back_us.values()), np.int64))

    def owner(self, committed: Committed) -> Int64s:
        """Return the controller of each reading; less than 0 for what is no climate sensor of the fleet."""
        known = committed.device < len(self.controller)
        return np.where(known, self.controller[np.where(known, committed.device, 0)], _BYSTANDER)


@dataclass(frozen=True)
class Delays:
    """How late readings were stored, in ms, in one phase: those of the fleet, those of bystanders."""

    fleet: npt.NDArray[np.float64]
    bystanders: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """Times in seconds after the outage's end."""

    first_live_s: npt.NDArray[np.float64]
    last_back_s: float
    caught_up_s: float
    reconnecting: Delays
    catching_up: Delays


def delays(committed: Committed, came: Came, *, clock_late_us: int = 0) -> Delays:
    """Return the delays of what was committed; the fleet's clock may be late."""
    late = committed.delay_ms
    owner = came.owner(committed)
    return Delays(late[owner >= 0] - clock_late_us / 1000, late[owner == _BYSTANDER])


def figures(committed: Committed, came: Came, *, ended_us: int, caught_up_us: int) -> Figures:
    """Evaluate what was committed since the outage ended; `caught_up_us` is when the backlog was stored."""
    owner = came.owner(committed)
    of_fleet = owner >= 0
    live = of_fleet & (committed.time_us >= came.back_us[owner])
    first_us = np.full(len(came.back_us), _NEVER)
    np.minimum.at(first_us, owner[live], committed.at_us[live])
    last_back_us = int(came.back_us.max())
    told = committed.where(live | ~of_fleet)

    def during(since_us: int, until_us: int) -> Delays:
        return delays(told.where((told.time_us >= since_us) & (told.time_us < until_us)), came)

    return Figures(
        first_live_s=(first_us[first_us < _NEVER] - ended_us) / 1e6,
        last_back_s=(last_back_us - ended_us) / 1e6,
        caught_up_s=(caught_up_us - ended_us) / 1e6,
        reconnecting=during(ended_us, last_back_us),
        catching_up=during(last_back_us, caught_up_us),
    )
