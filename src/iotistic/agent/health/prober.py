"""Asks the probes of all containers in one loop, and tells the reconciler how they are.

    reconciler -> health(current) -> the same, with Container.health      (attaches and lets go)
    probes     -> tell(ProbeEvent)                                        (look again; events for people)

Each container has one timer for whichever probe is next, and a task only while one is asked. Containers
that are gone, or do not run, have neither. After a start of the agent everything that runs is attached
again, a little spread, and counts as starting until the first answer.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from iotistic.agent.health.checking import Checker, Said
from iotistic.agent.health.watch import Answer, Role, Turn, Watch
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import Container, Current, Health, Probes, Release, Status

log = structlog.get_logger()

_AT_ONCE = 64
_SPREAD_S = 2.0
_NO_PROBES = Probes()


class ProbeEvent(NamedTuple):
    """Something about a container changed, and in words why."""

    turn: Turn
    container: Container
    health: Health
    reason: str = ""


@dataclass
class _Attached:
    """A container that is asked; another start of it is another one."""

    container: Container
    watch: Watch
    timer: asyncio.TimerHandle | None = None
    tasks: dict[Role, asyncio.Task[Said]] = field(default_factory=dict[Role, asyncio.Task[Said]])

    def let_go(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for task in self.tasks.values():
            task.cancel()


class Prober:
    """The probes of one device. `clock` is the engine's time of day, which `started_at` is told in."""

    def __init__(
        self,
        checker: Checker,
        clock: Callable[[], float],
        tell: Callable[[ProbeEvent], None] = lambda _event: None,
    ) -> None:
        self._checker, self._clock, self._tell = checker, clock, tell
        self._attached: dict[str, _Attached] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._leaving: set[asyncio.Task[Said]] = set()

    @property
    def attached(self) -> int:
        """How many containers are asked."""
        return len(self._attached)

    def health(self, current: Current) -> Current:
        """Return what is there with what probes say of it; begins and ends the asking. Call it in the loop."""
        containers = tuple(self._seen(one) for one in current.containers)
        asked = {one.id for one in current.containers if _is_asked(one)}
        for container_id in self._attached.keys() - asked:
            self._let_go(container_id)
        return replace(current, containers=containers)

    async def close(self) -> None:
        """Ask nobody any more."""
        for container_id in list(self._attached):
            self._let_go(container_id)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _seen(self, one: Container) -> Container:
        if not _is_asked(one):
            return one
        known = self._attached.get(one.id)
        if known is None or known.container.started_at != one.started_at:
            known = self._attach(one)
        elif known.watch.probes != one.config.probes:
            self._let_go(one.id)
            known = self._begin(one, known.watch.carry_on(one.config.probes, _now()))
        known.container = one
        if one.status is Status.PAUSED:
            self._pause(known)
        elif known.timer is None:
            self._arm(known)
        return replace(one, health=known.watch.health)

    def _attach(self, one: Container) -> _Attached:
        self._let_go(one.id)
        age_s = self._clock() - one.started_at
        # What starts now is asked at its time; what ran before is asked soon, but not everything at once.
        spread_s = random.uniform(0, min(_SPREAD_S, age_s)) if age_s > _SPREAD_S else 0.0  # noqa: S311  jitter
        return self._begin(one, Watch(one.config.probes, _now() + spread_s, age_s))

    def _begin(self, one: Container, watch: Watch) -> _Attached:
        known = self._attached[one.id] = _Attached(one, watch)
        self._arm(known)
        return known

    def _let_go(self, container_id: str) -> None:
        known = self._attached.pop(container_id, None)
        if known is not None:
            self._leaving.update(known.tasks.values())
            known.let_go()

    def _pause(self, known: _Attached) -> None:
        """A frozen container answers nobody, and is not to blame for that."""
        if known.timer is not None:
            known.timer.cancel()
            known.timer = None
        for task in known.tasks.values():
            task.cancel()

    def _arm(self, known: _Attached) -> None:
        if known.timer is not None:
            known.timer.cancel()
            known.timer = None
        due = known.watch.next()
        if due is not None and known.container.status is Status.RUNNING:
            loop = asyncio.get_running_loop()
            known.timer = loop.call_at(due.at, self._begin_asking, known, due.role)

    def _begin_asking(self, known: _Attached, role: Role) -> None:
        known.timer = None
        known.watch.begin(role, _now())
        task = asyncio.create_task(self._ask(known, role))
        known.tasks[role] = task
        # Not in a finally of the task: one that is cancelled before its first step has none.
        task.add_done_callback(lambda task: self._heard(known, role, task))
        self._arm(known)

    async def _ask(self, known: _Attached, role: Role) -> Said:
        async with self._at_once:
            return await self._checker.ask(known.container, known.watch.probe_of(role))

    def _heard(self, known: _Attached, role: Role, task: "asyncio.Task[Said]") -> None:
        self._leaving.discard(task)
        del known.tasks[role]
        said = Said(Answer.UNKNOWN) if task.cancelled() or task.exception() else task.result()
        turn = known.watch.hear(role, said.answer, _now())
        if self._attached.get(known.container.id) is known:
            self._arm(known)
            if turn is not None:
                self._turned(known, role, turn, said.reason)

    def _turned(self, known: _Attached, role: Role, turn: Turn, reason: str) -> None:
        one = known.container
        event = ProbeEvent(turn, one, known.watch.health, f"{role} probe: {reason}" if reason else "")
        quiet = turn is not Turn.LIVENESS_FAILED
        (log.info if quiet else log.warning)(
            "probe.turned", turn=turn, service=one.name, health=event.health, reason=event.reason
        )
        self._tell(event)


def tell_reconciler(
    record: Record, clock: Callable[[], float], look: Callable[[], None]
) -> Callable[[ProbeEvent], None]:
    """Return a `tell` that notes a failed liveness probe as a crash, and lets the reconciler look again."""

    def tell(event: ProbeEvent) -> None:
        if event.turn is Turn.LIVENESS_FAILED:
            release = Release(event.container.key, event.container.config)
            record.crashed(release, clock(), event.reason)
        look()

    return tell


def _is_asked(one: Container) -> bool:
    return one.status in (Status.RUNNING, Status.PAUSED) and one.config.probes != _NO_PROBES


def _now() -> float:
    return asyncio.get_running_loop().time()
