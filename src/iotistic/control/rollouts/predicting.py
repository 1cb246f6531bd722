"""The shared planner run to its end on a device that exists on paper: which steps, in which order, how long. Pure.

The same loop as an agent's: plan, begin what is not under way, plan again as soon as a step ends; two downloads
at a time. Between the end of a step and the beginning of the next passes a turn. Time is simulated. Once nothing is
left to do a minute passes, after which the new release counts as good, and what is tidied up then is told apart
(`later`).
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from iotistic.control.rollouts.device_model import DeviceModel
from iotistic.control.rollouts.durations import Durations
from iotistic.control.rollouts.rebuilding import Rebuilt, written
from iotistic.planning.comparing import reasons_to_remake
from iotistic.planning.facts import Facts
from iotistic.planning.model import Container, Service, ServiceKey, ServiceState, Target
from iotistic.planning.planner import plan
from iotistic.planning.steps import Action, Fetch, Kill, Noop, Start, Step, Stop, Unpause, name_of, subject_of

_FETCHES_AT_ONCE = 2
_GOOD_AFTER_S = 60.0
_MOST_ENDS = 2000
_LONGEST_WAIT_S = 3600.0


class PlannedStep(NamedTuple):
    """One step. `at_s` seconds after the device has the target."""

    step: str
    subject: str
    why: str
    at_s: float
    seconds: float
    later: bool = False
    """Whether it tidies up once the device is settled."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a target will do to a device."""

    steps: tuple[PlannedStep, ...] = ()
    seconds: float = 0.0
    """From the target until it is settled."""
    downtime_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """By service (`7/3`): from the beginning of the step that takes it down to the end of the one that starts it."""
    fetches: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Services that get another container."""
    disturbed: frozenset[str] = frozenset()
    """Apps with a service that is taken down."""
    settles: bool = True
    waits: tuple[str, ...] = ()
    """What holds it up, in words."""
    guessed: bool = False
    """Whether no device has told yet how long what takes services down and up lasts."""

    def count(self, *, later: bool = False) -> dict[str, int]:
        """Return how many steps of each kind there are."""
        counts: dict[str, int] = {}
        for one in self.steps:
            if one.later is later:
                counts[one.step] = counts.get(one.step, 0) + 1
        return counts


def predict(device: Rebuilt, target: Target, durations: Durations) -> Prediction:
    """Return what becoming `target` takes. Bounded: a plan that never ends is one that does not settle."""
    return _Run(device, target, durations).prediction()


class _Run:
    """One simulated update."""

    def __init__(self, device: Rebuilt, target: Target, durations: Durations) -> None:
        self._model, self._target, self._durations = DeviceModel(device.current), target, durations
        self._model.fetched |= device.facts.fetched
        self._facts, self._began = device.facts, device.facts.now
        self._last_good = dict(device.facts.last_good)
        self.now = self._began
        self._heap: list[tuple[float, int, Action | str]] = []
        self._number = 0
        self._under_way: set[Action] = set()
        self._queue: list[Fetch] = []
        self._fetching = 0
        self._done: list[PlannedStep] = []
        self._down_since: dict[ServiceKey, float] = {}
        self._downtime: dict[ServiceKey, float] = {}
        self._fresh: set[ServiceKey] = set()
        self._replaced: set[ServiceKey] = set()
        self._later = self._guessed = False

    def prediction(self) -> Prediction:
        left = self._settle()
        seconds, settled_at = self.now - self._began, self.now
        waits = tuple(dict.fromkeys(f"{one.subject} {one.why}" for one in left if isinstance(one, Noop)))
        settles = not any(not isinstance(one, Noop) for one in left) and self._is_there()
        if settles:
            self._later, self.now = True, settled_at + _GOOD_AFTER_S + 1
            self._grow_good()
            self._settle()
        done = sorted(self._done, key=lambda one: (one.later, one.at_s))
        return Prediction(
            steps=tuple(done),
            seconds=round(seconds, 3),
            downtime_s={written(key): round(s, 3) for key, s in sorted(self._downtime.items())},
            fetches=tuple(
                sorted({one.subject.removeprefix("image ") for one in done if one.step == "fetch"})
            ),
            replaced=tuple(sorted(written(key) for key in self._replaced)),
            disturbed=frozenset(key.app_id for key in (*self._downtime, *self._down_since)),
            settles=settles,
            waits=waits,
            guessed=self._guessed,
        )

    def _settle(self) -> list[Step]:
        """Work until nothing is left to do; return what the last plan said."""
        left: list[Step] = []
        for _ in range(_MOST_ENDS):
            left = plan(self._model.current(), self._target, self._planning_facts())
            self._begin(left)
            if self._heap:
                self._end_next()
            elif not self._wait(left):
                return left
        return left

    def _planning_facts(self) -> Facts:
        return replace(
            self._facts,
            now=self.now,
            held=frozenset(self._model.held),
            fetched=frozenset(self._model.fetched),
            last_good=self._last_good,
        )

    def _begin(self, steps: list[Step]) -> None:
        taken = {place for step in self._under_way for place in _places(step)}
        for step in steps:
            if isinstance(step, Noop) or step in self._under_way or taken & _places(step):
                continue
            self._under_way.add(step)
            if isinstance(step, Fetch) and self._fetching >= _FETCHES_AT_ONCE:
                self._queue.append(step)
            else:
                self._push(step)

    def _push(self, step: Action) -> None:
        seconds, begins_at = self._durations.of(step), self.now + self._durations.turn_s
        self._fetching += isinstance(step, Fetch)
        at_s = round(begins_at - self._began, 3)
        told = PlannedStep(name_of(step), subject_of(step), step.why, at_s, round(seconds, 3), self._later)
        self._done.append(told)
        self._guessed |= isinstance(step, Kill | Stop | Start) and not self._durations.knows(step)
        if isinstance(step, Kill | Stop):
            self._goes_down(step, begins_at)
        self._at(begins_at + seconds, step)

    def _at(self, when: float, what: Action | str) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, what))

    def _end_next(self) -> None:
        self.now, _, what = heapq.heappop(self._heap)
        if isinstance(what, str):
            self._model.ready(what)
            return
        self._under_way.discard(what)
        if isinstance(what, Fetch):
            self._fetching -= 1
            if self._queue:
                self._push(self._queue.pop(0))
        started = self._model.apply(what, self.now)
        if isinstance(what, Start):
            self._comes_up(what.service.key)
            self._replaced |= {what.service.key} if what.container_id is None else set()
            probe = what.service.config.probes.readiness
            if probe is not None and started is not None:
                ready_s = probe.initial_delay_s + probe.period_s * max(probe.success_threshold - 1, 0)
                self._at(self.now + ready_s, started)
        elif isinstance(what, Unpause):
            self._comes_up(what.key)

    def _goes_down(self, step: Kill | Stop, at: float) -> None:
        one = self._model.containers.get(step.container_id)
        if step.key in self._fresh and isinstance(step, Kill):
            self._fresh.discard(step.key)  # another container has taken over
        elif one is not None and one.is_up:
            self._down_since.setdefault(step.key, at)

    def _comes_up(self, key: ServiceKey) -> None:
        since = self._down_since.pop(key, None)
        if since is None:
            self._fresh.add(key)
        else:
            self._downtime[key] = self._downtime.get(key, 0.0) + self.now - since

    def _wait(self, left: list[Step]) -> bool:
        """Let time pass until what is put off is due; say whether there was something."""
        due = [step.until for step in left if isinstance(step, Noop) and step.until is not None]
        if not due or not 0 <= min(due) - self.now <= _LONGEST_WAIT_S:
            return False
        self.now = max(min(due), self.now + 0.05)
        return True

    def _grow_good(self) -> None:
        for one in self._model.containers.values():
            if one.serves:
                self._last_good[one.key] = one.config

    def _is_there(self) -> bool:
        """Whether each service has the container that it is to have."""
        services = {service.key: service for app in self._target.apps for service in app.services}
        containers: dict[ServiceKey, list[Container]] = {}
        for one in self._model.containers.values():
            containers.setdefault(one.key, []).append(one)
        if set(containers) - set(services):
            return False
        return all(_is_as_wanted(service, containers.get(key, [])) for key, service in services.items())


def _is_as_wanted(service: Service, mine: list[Container]) -> bool:
    if service.state is ServiceState.STOPPED:
        return not any(one.is_up for one in mine)
    return len(mine) == 1 and not reasons_to_remake(mine[0].config, service.config)


def _places(step: Action) -> frozenset[object]:
    """Return what a step works on, so that no two work on the same: as the agent's loop has it."""
    if isinstance(step, Start):
        return frozenset({step.service.key, *({step.container_id} if step.container_id else ())})
    if (container_id := getattr(step, "container_id", None)) is not None:
        return frozenset({container_id})
    return frozenset({(type(step).__name__.removeprefix("Remove").removeprefix("Create"), subject_of(step))})
