"""What the agent remembers of what it did and saw: the facts that plans are made with. No I/O, no clock.

Some of it has to outlive the process: which release was good, which one crashed, what was stopped on
purpose. The rest only paces repetition, and a new start may forget it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from iotistic.planning.facts import Facts
from iotistic.planning.model import (
    Container,
    Current,
    Failures,
    Health,
    Release,
    ServiceConfig,
    ServiceKey,
    Status,
    Target,
)
from iotistic.planning.steps import (
    Action,
    Fetch,
    ReleaseLock,
    RemoveImage,
    Start,
    Stop,
    TakeLock,
    UpdateMetadata,
)

GOOD_AFTER_S = 60.0
"""How long a container has to run, and be ready, before its release counts as good."""


@dataclass
class Record:
    """The memory of one agent."""

    failures: dict[Action, Failures] = field(default_factory=dict[Action, Failures])
    crashes: dict[Release, Failures] = field(default_factory=dict[Release, Failures])
    last_good: dict[ServiceKey, ServiceConfig] = field(default_factory=dict[ServiceKey, ServiceConfig])
    stopped: set[str] = field(default_factory=set[str])
    """Containers that were ended on purpose."""
    applied: dict[str, ServiceConfig] = field(default_factory=dict[str, ServiceConfig])
    """Configurations that living containers were changed to."""
    held: set[str] = field(default_factory=set[str])
    fetched: set[str] = field(default_factory=set[str])
    purged_at: dict[str, float] = field(default_factory=dict[str, float])
    """Apps whose volumes are to go, until they are gone: a request that stays would hit those that are made later."""

    def facts(self, now: float, *, locked: Iterable[str], disk_is_full: bool, shares_ports: bool) -> Facts:
        """Return what a plan is made with."""
        return Facts(
            now=now,
            failures=dict(self.failures),
            crashes=dict(self.crashes),
            last_good=dict(self.last_good),
            locked=frozenset(locked),
            held=frozenset(self.held),
            fetched=frozenset(self.fetched),
            disk_is_full=disk_is_full,
            purged_at=dict(self.purged_at),
            shares_ports=shares_ports,
        )

    def seen(self, current: Current, now: float) -> Current:
        """Return what is there with what only we know of it, and learn from it which releases are good."""
        there = {one.id for one in current.containers}
        self.stopped &= there
        self.purged_at = {
            app_id: asked_at
            for app_id, asked_at in self.purged_at.items()
            if any(one.app_id == app_id and at <= asked_at for one, at in current.volumes.items())
        }
        self.applied = {id_: config for id_, config in self.applied.items() if id_ in there}
        current = self.known(current)
        for one in current.containers:
            if _is_good(one, now):
                self.last_good[one.key] = one.config
                self.crashes.pop(Release(one.key, one.config), None)
        return current

    def known(self, current: Current) -> Current:
        """Return what is there with what only we know of it: engines do not keep all that we changed."""
        return replace(current, containers=tuple(self._known(one) for one in current.containers))

    def _known(self, one: Container) -> Container:
        return replace(
            one,
            config=self.applied.get(one.id, one.config),
            stopped_by_us=one.stopped_by_us or one.id in self.stopped,
        )

    def begun(self, step: Action) -> None:
        """Note what is about to be done on purpose, so that it is known even if we do not live to see it done."""
        match step:
            case Stop(container_id=container_id):
                self.stopped.add(container_id)
            case Fetch(image):
                self.fetched.add(image)  # nobody else would remove it
            case _:
                pass

    def done(self, step: Action) -> None:
        """Note that a step succeeded."""
        self.failures.pop(step, None)
        match step:
            case RemoveImage(image):
                self.fetched.discard(image)
            case Start(container_id=str(container_id)):
                self.stopped.discard(container_id)
            case UpdateMetadata(container_id=container_id, config=config):
                self.applied[container_id] = config
            case TakeLock(app_id):
                self.held.add(app_id)
            case ReleaseLock(app_id):
                self.held.discard(app_id)
            case _:
                pass

    def failed(self, step: Action, now: float, reason: str) -> None:
        """Note that a step failed."""
        if isinstance(step, Fetch):
            self.fetched.discard(step.image)
        before = self.failures.get(step)
        self.failures[step] = Failures((before.count if before else 0) + 1, now, reason)

    def crashed(self, release: Release, now: float, reason: str) -> None:
        """Note that a container ended by itself, or failed its liveness probe."""
        before = self.crashes.get(release)
        self.crashes[release] = Failures((before.count if before else 0) + 1, now, reason)

    def retarget(self, target: Target) -> None:
        """Begin with a new target: what failed may work now, and releases that are not wanted any more are forgotten."""
        services = [service for app in target.apps for service in app.services]
        wanted = {Release(service.key, service.config) for service in services}
        self.failures.clear()
        self.crashes = {release: crashed for release, crashed in self.crashes.items() if release in wanted}
        keys = {service.key for service in services}
        self.last_good = {key: config for key, config in self.last_good.items() if key in keys}


def _is_good(one: Container, now: float) -> bool:
    return (
        one.status is Status.RUNNING
        and one.health in (Health.UNKNOWN, Health.READY)
        and now - one.started_at >= GOOD_AFTER_S
    )
