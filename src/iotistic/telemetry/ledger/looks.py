"""How far stages are: kept by whoever looks at them, read by whoever asks where a gap stands.

A stage's part is watched by its ends: what had come to it when it was looked at, and whether all of that has
left it since. Offsets of a Kafka partition are such ends.
"""

from collections import deque
from collections.abc import Sequence

import asyncpg
import msgspec

from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.ledger.standing import Clock
from iotistic.telemetry.statements import Record, Statements

_FINE, _COARSE, _COARSE_EVERY_S = 8, 24, 30.0
_MOST_ENDS = 64


class Look(msgspec.Struct, frozen=True):
    """What is known of one part of a stage, with times in seconds since the epoch, oldest first."""

    stage: Stage
    part: str
    looked_at: float
    waiting: int | None
    seen_at: list[float]
    clear_until: list[float]


class Watch:
    """One part of a stage, as far as its looks tell.

    The last few looks are kept, and one for each half minute before: about twelve minutes. Bounded also
    when the stage stands still: then every second end that was not reached is forgotten.
    """

    def __init__(self, stage: Stage, part: str) -> None:
        self._stage, self._part = stage, part
        self._ends: list[tuple[float, int]] = []
        self._fine: deque[tuple[float, float]] = deque(maxlen=_FINE)
        self._coarse: deque[tuple[float, float]] = deque(maxlen=_COARSE)

    def look(self, at: float, *, end: int, done: int) -> Look:
        """Note a look: `end` is behind the last thing that had come by then, `done` behind the last that left."""
        self._ends.append((at, end))
        clear = max((when for when, behind in self._ends if behind <= done), default=None)
        if clear is not None:
            self.clear(at, clear)
        self._ends = [one for one in self._ends if one[1] > done]
        if len(self._ends) > _MOST_ENDS:
            del self._ends[1::2]
        return self.told(at, max(0, end - done))

    def clear(self, at: float, until: float) -> None:
        """Note that at `at` everything that came before `until` had left."""
        if len(self._fine) == _FINE and (
            not self._coarse or self._fine[0][0] - self._coarse[-1][0] >= _COARSE_EVERY_S
        ):
            self._coarse.append(self._fine[0])
        self._fine.append((at, until))

    def told(self, at: float, waiting: int | None) -> Look:
        """Return what is known, to be noted."""
        known = [*self._coarse, *self._fine]
        return Look(self._stage, self._part, at, waiting, [seen for seen, _ in known], [c for _, c in known])


class Stages:
    """The table of looks. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._statements = Statements(pool, "iotistic.telemetry.ledger")

    async def note(self, looks: Sequence[Look]) -> None:
        """Note looks at parts of stages."""
        if looks:
            await self._statements.fetch("note_stages", msgspec.json.encode(looks).decode())

    async def loads(self) -> Sequence[Record]:
        """Return how the processes that store are doing: `process`, `lane`, `waiting`, `away`, `reported_at`."""
        return await self._statements.fetch("loads")

    async def clocks(self) -> list[Clock]:
        """Return what is known of all stages."""
        return [_clock(row) for row in await self._statements.fetch("stages")]


def _clock(row: Record) -> Clock:
    looks = tuple(zip(row["seen_at"], row["clear_until"], strict=True))
    return Clock(Stage(row["stage"]), row["part"], row["looked_at"], row["waiting"], looks)
