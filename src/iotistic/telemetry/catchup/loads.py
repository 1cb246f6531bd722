"""What the reports of the stages say together: how live readings fare, what the backlog's lane has done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_FRESH_S = 3.0
"""Seconds after which a process that said nothing counts as away: six reports."""
_LIVE, _BACKLOG = "live", "backlog"


class Load(NamedTuple):
    """The last report of one process; `age_s` is how old it is."""

    lane: str
    process: str
    started_s: float
    stored: int
    delay_s: float
    waiting: int
    away: str | None
    age_s: float


class Trouble(NamedTuple):
    """Why nothing is granted: a stable code, and words."""

    code: str
    words: str


NOT_KNOWN = Trouble("catchup.starting", "it is not known yet how the workers are doing")
_NO_LIVE = Trouble("catchup.no_live_worker", "no worker for live readings says how it is doing")
_NO_BACKLOG = Trouble("catchup.no_backlog_worker", "no worker for backlogs says how it is doing")


@dataclass(frozen=True)
class Situation:
    """How the lanes are doing. `stored` counts messages of the backlog since the last look."""

    trouble: Trouble | None = None
    stored: int = 0
    waiting: int = 0
    live_delay_s: float = 0.0
    backlog_delay_s: float = 0.0


class LoadReader:
    """Reads reports, and remembers how far each process had come."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, float], int] = {}
        self._began = False

    def read(self, loads: Sequence[Load]) -> Situation:
        """Return the situation; a process that appears has stored nothing before this began to look."""
        fresh = [load for load in loads if load.age_s <= _FRESH_S]
        live = [load for load in fresh if load.lane == _LIVE]
        backlog = [load for load in fresh if load.lane == _BACKLOG]
        return Situation(
            _trouble(live, backlog),
            self._stored([load for load in loads if load.lane == _BACKLOG]),
            sum(load.waiting for load in backlog),
            _longest(live),
            _longest(backlog),
        )

    def _stored(self, loads: Iterable[Load]) -> int:
        """Return what was stored since the last look; stale reports count too, for they may be the last."""
        totals = {(load.process, load.started_s): load.stored for load in loads}
        stored = 0
        for process, total in totals.items():
            stored += max(0, total - self._seen.get(process, 0 if self._began else total))
        self._seen, self._began = totals, True
        return stored


def _longest(loads: Sequence[Load]) -> float:
    return max((load.delay_s for load in loads), default=0.0)


def _trouble(live: Sequence[Load], backlog: Sequence[Load]) -> Trouble | None:
    if not live:
        return _NO_LIVE
    if not backlog:
        return _NO_BACKLOG
    for load in (*live, *backlog):
        if load.away is not None:
            return Trouble("catchup.away", f"{load.process.partition('@')[0]}: {load.away}")
    return None
