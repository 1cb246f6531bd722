"""What the agent did to reach the newest version of its target: steps, seconds, and how long services were down.

A cloud that predicted an update compares this with it, and learns from it how long steps take. It is kept in
memory: after a new start it says that it is not the whole story.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from iotistic.agent.engines.port import Engine
from iotistic.agent.reconcile.carrying_out import Executor, Locks
from iotistic.planning.facts import Facts
from iotistic.planning.images import repository_of
from iotistic.planning.model import ServiceKey
from iotistic.planning.steps import Action, Fetch, Kill, RemoveImage, Start, Stop, Unpause, name_of

_MOST_TIMES = 32
_MOST_IMAGES = 64
_TURN = "turn"
"""Not a step: from the end of one to the beginning of the next while a service is down. The agent looks, plans, and
writes to its disk then, which counts as downtime and is no step's time."""


@dataclass
class Chronicle:
    """Of one agent. `clock` in seconds since 1970."""

    clock: Callable[[], float]
    version: object = None
    """What the story is about; None until somebody says how the newest target is called."""
    complete: bool = False
    """Whether it was there from the beginning of this version."""
    epoch: int = 0
    steps: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, int] = field(default_factory=dict[str, int])
    downtime_s: dict[str, float] = field(default_factory=dict[str, float])
    seconds: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])
    _down_since: dict[ServiceKey, float] = field(default_factory=dict[ServiceKey, float])
    _fresh: set[ServiceKey] = field(default_factory=set[ServiceKey])
    _ended_at: float | None = None
    """When the last step ended well; None after one that did not, which is waited for before it is tried again."""

    def retargeted(self) -> None:
        """Begin anew: there is another target. The first of a process may be one that another has worked on."""
        self.complete = self.epoch > 0
        self.epoch += 1
        self.version = None
        for told in (self.steps, self.failed, self.downtime_s, self._down_since):
            told.clear()
        self.seconds.clear()
        self._fresh.clear()
        self._ended_at = None

    def began(self, step: Action) -> float:
        """Note that a step begins; return when."""
        now = self.clock()
        if isinstance(step, Start | Fetch) and self._down_since and self._ended_at is not None:
            self._took(_TURN, "", now - self._ended_at)
        self._ended_at = None
        if isinstance(step, Kill) and step.key in self._fresh:
            self._fresh.discard(step.key)  # another container has taken over
        elif isinstance(step, Kill | Stop):
            self._down_since.setdefault(step.key, now)
        return now

    def ended(self, step: Action, began_at: float, epoch: int, *, well: bool) -> None:
        """Note that a step ended that began in an epoch; one of an older target is no part of this story."""
        if epoch != self.epoch:
            return
        name, now = name_of(step), self.clock()
        if not well:
            self.failed[name] = self.failed.get(name, 0) + 1
            self._ended_at = None
            return
        self.steps[name] = self.steps.get(name, 0) + 1
        self._took(name, _topic(step), now - began_at)
        self._ended_at = now
        if isinstance(step, Start):
            self._came_up(step.service.key, now)
        elif isinstance(step, Unpause):
            self._came_up(step.key, now)

    def _took(self, name: str, topic: str, seconds: float) -> None:
        if len(self.seconds) < _MOST_TIMES:
            self.seconds.append((name, topic, round(max(seconds, 0.0), 3)))

    def _came_up(self, key: ServiceKey, now: float) -> None:
        since = self._down_since.pop(key, None)
        if since is None:
            self._fresh.add(key)
            return
        written = f"{key.app_id}/{key.service_id}"
        self.downtime_s[written] = round(self.downtime_s.get(written, 0.0) + max(now - since, 0.0), 3)

    def describe(self, version: object, facts: Facts, *, settled: bool) -> dict[str, Any]:
        """Return `update` of a report; `version` is the one in force. One that changes nothing here took nothing."""
        if self.version is not None and self.version != version:
            self.retargeted()
        self.version = version
        crashes = {
            f"{release.key.app_id}/{release.key.service_id}": failures.count
            for release, failures in sorted(facts.crashes.items(), key=lambda one: one[0].key)
        }
        return {
            "version": self.version,
            "complete": self.complete,
            "settled": settled,
            "steps": dict(self.steps),
            "failed": dict(self.failed),
            "crashes": crashes,
            "downtime_s": dict(self.downtime_s),
            # Only a story that has ended: a report that changes with every step is a report for every step.
            "seconds": [list(one) for one in self.seconds] if settled else [],
        }


class ChroniclingExecutor(Executor):
    """Carries out steps, and has them noted."""

    def __init__(self, engine: Engine, locks: Locks, chronicle: Chronicle) -> None:
        super().__init__(engine, locks)
        self._chronicle = chronicle

    async def carry_out(self, step: Action) -> None:
        """Bring about what a step says. Raises StepTookTooLong, and what the engine raises."""
        epoch, began_at, well = self._chronicle.epoch, self._chronicle.began(step), False
        try:
            await super().carry_out(step)
            well = True
        finally:
            self._chronicle.ended(step, began_at, epoch, well=well)


def describe_facts(engine: Engine, facts: Facts) -> Mapping[str, Any]:
    """Return `facts` of a report: what a plan depends on besides containers."""
    good = {f"{key.app_id}/{key.service_id}": config.image for key, config in sorted(facts.last_good.items())}
    return {
        "engine": engine.name,
        "shares_ports": engine.shares_ports,
        "disk_is_full": facts.disk_is_full,
        "locked": sorted(facts.locked),
        "images": sorted(facts.fetched)[:_MOST_IMAGES],
        "good": good,
    }


def _topic(step: Action) -> str:
    match step:
        case Fetch(image) | RemoveImage(image):
            return image
        case Start(service):
            return repository_of(service.config.image)
        case _:
            return ""
