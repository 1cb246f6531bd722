"""Keeps parts running: starts them, starts again what dies, stops all in reverse order.

Invariants:
- a part is watched from the moment it is ready until stopping begins; once stopping has begun nothing
  is started again;
- `stop` may be called at any time, also while parts are still starting;
- the wait before a restart doubles from 0.1 s to 5 s and is forgotten after five seconds of good health.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from iotistic.entrypoints.up.parts import Part
from iotistic.kernel import logfiles
from iotistic.kernel.errors import IotisticError

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0  # an ingest worker that waits longer is an outage of its own
_HEALTHY_AFTER_S = 5.0
_LOUD_AFTER = 3  # deaths in a row


@dataclass(frozen=True)
class PartDied:
    """A part ended by itself; `tail` is the end of its log, given once it keeps dying."""

    name: str
    status: int | None
    restart_in_s: float
    in_a_row: int
    tail: str = ""

    @property
    def is_loop(self) -> bool:
        """Whether it keeps dying."""
        return self.in_a_row >= _LOUD_AFTER


@dataclass(frozen=True)
class PartRestarted:
    """A part that died runs again."""

    name: str
    deaths: int


Event = PartDied | PartRestarted


@dataclass
class Supervisor:
    """Runs parts; `on_event` hears of deaths and restarts."""

    on_event: Callable[[Event], None]
    _stages: list[tuple[Part, ...]] = field(default_factory=list[tuple[Part, ...]], init=False)
    _watches: dict[str, asyncio.Task[None]] = field(
        default_factory=dict[str, "asyncio.Task[None]"], init=False
    )
    _down: set[str] = field(default_factory=set[str], init=False)
    deaths: dict[str, int] = field(default_factory=dict[str, int], init=False)

    async def start(self, *parts: Part) -> None:
        """Start parts side by side and return when all are ready."""
        self._stages.append(parts)
        outcomes = await asyncio.gather(*(part.start() for part in parts), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        for part in parts:
            self._watches[part.name] = asyncio.create_task(self._keep(part), name=f"keep {part.name}")

    def states(self) -> dict[str, bool]:
        """Say for each part that was started whether it runs."""
        return {part.name: part.name not in self._down for stage in self._stages for part in stage}

    async def _keep(self, part: Part) -> None:
        in_a_row = 0
        while True:
            since = time.monotonic()
            status: int | None = await part.wait()
            in_a_row = 1 if time.monotonic() - since > _HEALTHY_AFTER_S else in_a_row + 1
            self._down.add(part.name)
            in_a_row = await self._bring_back(part, status, in_a_row)
            self._down.discard(part.name)

    async def _bring_back(self, part: Part, status: int | None, in_a_row: int) -> int:
        """Start a dead part until it is ready; return how many deaths in a row that took."""
        while True:
            self.deaths[part.name] = self.deaths.get(part.name, 0) + 1
            pause_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (in_a_row - 1))
            tail = logfiles.tail(part.log) if in_a_row >= _LOUD_AFTER else ""
            self.on_event(PartDied(part.name, status, pause_s, in_a_row, tail))
            await asyncio.sleep(pause_s)
            try:
                await part.start()
            except IotisticError:
                status = None
                in_a_row += 1
                continue
            self.on_event(PartRestarted(part.name, self.deaths[part.name]))
            return in_a_row

    async def stop(self, on_stopping: Callable[[str], None] = lambda _name: None) -> None:
        """Stop every part, the last started first."""
        await self._stop_watching()
        while self._stages:
            stage = self._stages[-1]
            on_stopping(", ".join(part.name for part in stage))
            await asyncio.gather(*(part.stop() for part in stage))
            self._stages.pop()

    def kill(self) -> None:
        """End every part at once."""
        for stage in reversed(self._stages):
            for part in stage:
                part.kill()

    async def _stop_watching(self) -> None:
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        self._watches.clear()
