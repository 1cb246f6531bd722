"""How a controller that was away lets go of what it kept back: no faster than it is granted.

    away -> back -> asked -> granted -> asked -> put off -> asked -> ... -> done
                      '--> nobody answers -> straight out, on the ordinary topics

What is said on the way is in `iotistic.contracts.backlog`. No I/O and no clock: numbers of messages,
answers and times in, turns out.

Invariants:
- A number that was kept is kept still, or was let go since the controller came back; numbers go in order.
- Below `backlog/` no more is let go than the last grant says, and nothing once its time is over.
- At most `AT_ONCE` are let go and not acknowledged, so that a new reading waits behind few old ones.
"""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from iotistic.contracts.backlog import UNANSWERED_ASKS, Grant

AT_ONCE = 20
_REFILL_AT = AT_ONCE // 2
_SHORTEST_PAUSE_S = 1.0
_MOST_JITTER = 0.25


class Step(Enum):
    """Where a controller stands. `DONE`: it is connected and keeps nothing back."""

    AWAY = "away"
    DONE = "done"
    ASKED = "asked"
    PUT_OFF = "put off"
    GRANTED = "granted"
    STRAIGHT = "straight"


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now: ask with `waiting`, and send messages, `granted` ones below `backlog/`."""

    waiting: int | None = None
    numbers: list[int] = field(default_factory=list[int])
    granted: bool = False


_NOTHING = Turn()


class CatchUp:
    """What one controller keeps back. It asks when that is more than `ask_above`; None: it never asks."""

    __slots__ = (
        "_ask_above", "_chance", "_due_s", "_first_pause_s", "_kept", "_lane_refused", "_left", "_unanswered",
        "_under_way", "step",
    )  # fmt: skip

    def __init__(
        self, chance: random.Random, *, ask_above: int | None = AT_ONCE, first_pause_s: float = 5.0
    ) -> None:
        self.step = Step.AWAY
        self._chance = chance
        self._ask_above = ask_above
        self._first_pause_s = first_pause_s
        self._kept: deque[int] = deque()
        self._due_s = 0.0
        self._left = 0
        self._under_way = 0
        self._unanswered = 0
        self._lane_refused = False

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def numbers(self) -> Iterable[int]:
        """What is kept back, in its order."""
        return self._kept

    @property
    def busy(self) -> bool:
        """Whether `act` may have something to do."""
        return self.step not in (Step.AWAY, Step.DONE)

    def keep(self, number: int) -> None:
        """Keep back a message that was made while away."""
        self._kept.append(number)

    def lost(self, under_way: Iterable[int]) -> None:
        """The connection is lost; what was under way is kept back too, in its place."""
        self._kept = deque(sorted((*under_way, *self._kept)))
        self._under_way = self._left = 0
        self.step = Step.AWAY

    def back(self, now_s: float) -> Turn:
        """The controller is connected: a handful goes straight out, more is asked for."""
        self._unanswered = 0
        self._lane_refused = False
        if not self._kept:
            self.step = Step.DONE
            return _NOTHING
        if self._ask_above is None or len(self._kept) <= self._ask_above:
            return self._straight()
        return self._ask(now_s)

    def hear(self, answer: Grant, now_s: float) -> Turn:
        """Take an answer, whenever it comes; a new one replaces the last."""
        if self.step is Step.AWAY or self._lane_refused or self._ask_above is None:
            return _NOTHING
        self._unanswered = 0
        if not self._kept and not self._under_way:
            self.step = Step.DONE
            return Turn(waiting=0) if answer.grant else _NOTHING
        if answer.grant and answer.within_s:
            self._left = answer.grant
            self._due_s = now_s + answer.within_s
            self.step = Step.GRANTED
            return self.act(now_s)
        self._left = 0
        self._due_s = now_s + self._jittered(max(_SHORTEST_PAUSE_S, answer.retry_after_s))
        self.step = Step.PUT_OFF
        return _NOTHING

    def settled(self, now_s: float) -> Turn:
        """The broker took a message that was let go."""
        self._under_way -= 1
        return self.act(now_s) if self._under_way <= _REFILL_AT else _NOTHING

    def refused(self, number: int) -> Turn:
        """The broker takes nothing below `backlog/`: the message is kept, and all goes straight out."""
        self._under_way -= 1
        self._kept = deque(sorted((number, *self._kept)))
        self._lane_refused = True
        return self._straight()

    def not_taken(self, turn: Turn, count: int) -> None:
        """The last `count` messages of a turn found no room on their way out."""
        self._kept.extendleft(reversed(turn.numbers[-count:]))
        self._under_way -= count
        self._left += count if turn.granted else 0

    def act(self, now_s: float) -> Turn:
        """Return what is to be done now; nothing most of the time."""
        if self.step is Step.STRAIGHT:
            return self._straight()
        if self.step is Step.GRANTED and now_s < self._due_s:
            if self._left and self._kept:
                return self._let_go(self._left, granted=True)
            return _NOTHING if self._under_way else self._ask(now_s)
        if not self.busy or now_s < self._due_s:
            return _NOTHING
        if self.step is Step.ASKED:
            self._unanswered += 1
        return self._straight() if self._unanswered >= UNANSWERED_ASKS else self._ask(now_s)

    def _ask(self, now_s: float) -> Turn:
        waiting = len(self._kept)
        self._left = 0
        self.step = Step.ASKED if waiting else Step.DONE
        self._due_s = now_s + self._jittered(self._first_pause_s * 2**self._unanswered)
        return Turn(waiting=waiting)

    def _straight(self) -> Turn:
        self._left = 0
        self.step = Step.STRAIGHT if self._kept or self._under_way else Step.DONE
        return self._let_go(AT_ONCE, granted=False)

    def _let_go(self, most: int, *, granted: bool) -> Turn:
        if self._under_way > _REFILL_AT:
            return _NOTHING
        count = min(most, AT_ONCE - self._under_way, len(self._kept))
        if not count:
            return _NOTHING
        numbers = [self._kept.popleft() for _ in range(count)]
        self._under_way += count
        self._left -= count if granted else 0
        return Turn(numbers=numbers, granted=granted)

    def _jittered(self, seconds: float) -> float:
        """Never sooner, so that whoever was told to wait does wait."""
        return seconds * self._chance.uniform(1, 1 + _MOST_JITTER)
