"""What probes mean for one container, from its start to its end. No I/O, no clock: the time is told.

    startup succeeds       -> liveness and readiness are asked from now on
    startup fails often    -> FAILED
    liveness fails often   -> FAILED
    readiness              -> READY or NOT_READY

A failed container is asked nothing more: it is to be started again, which begins a new watch. An answer
that could not be had (the engine is away) counts as none. Times are seconds of one steady clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from iotistic.planning.model import Health, Probe, Probes

_DEFAULT_PERIOD_S, _LEAST_PERIOD_S = 10.0, 0.1


class Role(StrEnum):
    """What a probe is for."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class Answer(StrEnum):
    """What was said."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"
    """Nobody could be asked; says nothing about the container."""


class Turn(StrEnum):
    """What an answer changed."""

    STARTUP_COMPLETED = "startup-completed"
    LIVENESS_FAILED = "liveness-failed"
    READINESS_CHANGED = "readiness-changed"


class Due(NamedTuple):
    """A probe that is to be asked, and when."""

    at: float
    role: Role


@dataclass
class _Asked:
    """One probe: when it is asked next, and how often it said the same in a row."""

    probe: Probe
    due: float
    is_under_way: bool = False
    answer: Answer = Answer.UNKNOWN
    run: int = 0

    def begin(self, now: float) -> None:
        self.is_under_way = True
        self.due = now + period_s(self.probe)

    def end(self, answer: Answer) -> int:
        """Note an answer and return how often it came in a row."""
        self.is_under_way = False
        if answer is Answer.UNKNOWN:
            return 0
        self.run = self.run + 1 if answer is self.answer else 1
        self.answer = answer
        return self.run


class Watch:
    """The probes of one container since it was started. `age_s` is how long ago that was."""

    def __init__(self, probes: Probes, now: float, age_s: float = 0.0) -> None:
        self.probes = probes
        self.is_started = probes.startup is None
        self.is_failed = False
        self.is_ready: bool | None = None
        self._asked: dict[Role, _Asked] = {}
        for role, probe in (
            (Role.STARTUP, probes.startup),
            (Role.LIVENESS, probes.liveness),
            (Role.READINESS, probes.readiness),
        ):
            if probe is not None:
                self._asked[role] = _Asked(probe, now + max(probe.initial_delay_s - max(age_s, 0.0), 0.0))

    @property
    def health(self) -> Health:
        """What the container is called now."""
        if self.is_failed:
            return Health.FAILED
        if not self.is_started or (self.probes.readiness is not None and self.is_ready is None):
            return Health.STARTING
        if self.probes.readiness is not None:
            return Health.READY if self.is_ready else Health.NOT_READY
        return Health.UNKNOWN if self.probes.startup is None else Health.READY

    def next(self) -> Due | None:
        """Return what is to be asked first; None while nothing is."""
        waiting = [Due(one.due, role) for role, one in self._active() if not one.is_under_way]
        return min(waiting, default=None)

    def probe_of(self, role: Role) -> Probe:
        """Return the probe that has a role."""
        return self._asked[role].probe

    def begin(self, role: Role, now: float) -> None:
        """Note that a probe is asked now."""
        self._asked[role].begin(now)

    def hear(self, role: Role, answer: Answer, now: float) -> Turn | None:
        """Note what a probe said, and return what that changed."""
        one = self._asked[role]
        run = one.end(answer)
        one.due = max(one.due, now)
        if self.is_failed or not run or (role is Role.STARTUP and self.is_started):
            return None
        good = answer is Answer.GOOD
        if run < (one.probe.success_threshold if good else one.probe.failure_threshold):
            return None
        match role:
            case Role.STARTUP if good:
                self.is_started = True
                return Turn.STARTUP_COMPLETED
            case Role.READINESS:
                before, self.is_ready = self.is_ready, good
                return Turn.READINESS_CHANGED if before is not good else None
            case _:
                self.is_failed = not good
                return Turn.LIVENESS_FAILED if self.is_failed else None

    def carry_on(self, probes: Probes, now: float) -> "Watch":
        """Return a watch for a container that lives on with other probes: what did not change is not asked anew."""
        changed = Watch(probes, now, float("inf"))
        changed.is_failed = self.is_failed
        changed.is_started = self.is_started or probes.startup is None
        if probes.readiness == self.probes.readiness:
            changed.is_ready = self.is_ready
        for role, one in self._asked.items():
            if role in changed._asked and changed._asked[role].probe == one.probe:
                changed._asked[role] = replace(one, is_under_way=False)
        return changed

    def _active(self) -> list[tuple[Role, _Asked]]:
        if self.is_failed:
            return []
        return [
            (role, one) for role, one in self._asked.items() if (role is Role.STARTUP) is not self.is_started
        ]


def period_s(probe: Probe) -> float:
    """Return how long it is from one question to the next; 0 stands for the default."""
    return max(probe.period_s or _DEFAULT_PERIOD_S, _LEAST_PERIOD_S)
