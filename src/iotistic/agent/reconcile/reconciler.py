"""The loop of an agent: observe, plan, begin what is to be done, and again whenever something happened.

Invariants
- What is under way holds its place: the container, or the service that one is made for. Nothing else begins
  there, nor on the word of an observation that is older than the end of what was.
- A newer target cancels every step that it does not want, waits until they have let go, and looks again
  before anything of it begins.
- A step that fails is noted with its reason; the plan says when it is tried again. Nothing here retries.
- An engine that is away is asked again, more and more seldom; what runs on the device is not touched by that.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog

from iotistic.agent.engines.port import Change, Engine, Event
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.record import Record
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.planning.model import Current, Release, Target
from iotistic.planning.planner import plan
from iotistic.planning.steps import Action, Fetch, Noop, Start, Step, Stop, name_of, subject_of

log = structlog.get_logger()

_FETCHES_AT_ONCE = 2
_AWAY_FIRST_S, _AWAY_MOST_S = 0.5, 30.0
_SOON_S = 0.05


@dataclass(frozen=True)
class Surroundings:
    """What the loop asks for, besides the engine: the time, locks, the disk, and where its memory is kept."""

    clock: Callable[[], float]
    locked: Callable[[], Iterable[str]] = tuple
    """Apps that hold their own lock now."""
    disk_is_full: Callable[[], bool] = lambda: False
    health: Callable[[Current], Current] = lambda current: current
    """Adds to containers what probes say."""
    save: Callable[[Record], Awaitable[None]] | None = None
    noticed: Callable[[], None] = lambda: None
    """Hears when something is not as it was at the look before: it is time to report."""
    retargeted: Callable[[], None] = lambda: None
    """Hears when there is another target."""


@dataclass
class Standing:
    """How far the device is: for people who ask."""

    steps: list[Step] = field(default_factory=list[Step])
    current: Current = field(default_factory=Current)
    settled_at: float | None = None
    engine_away: str = ""


class Reconciler:
    """Keeps one engine equal to a target."""

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        record: Record,
        surroundings: Surroundings,
        *,
        look_every_s: float = 30.0,
    ) -> None:
        self._engine, self._executor, self._record = engine, executor, record
        self._around, self.look_every_s = surroundings, look_every_s
        self._target = Target()
        self._retargeted = False
        self._wake = asyncio.Event()
        self._under_way: dict[Action, asyncio.Task[None]] = {}
        self._just_ended: set[Action] = set()
        self._fetching = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._away_s = _AWAY_FIRST_S
        self.standing = Standing()

    @property
    def target(self) -> Target:
        """What was declared last."""
        return self._target

    @property
    def is_settled(self) -> bool:
        """Whether nothing can be done now."""
        return self.standing.settled_at is not None and not self._under_way

    @property
    def under_way(self) -> tuple[Action, ...]:
        """What is being done now."""
        return tuple(self._under_way)

    def declare(self, target: Target) -> None:
        """Take a target; the newest always wins."""
        if target != self._target:
            self._record.retarget(target)
            self._around.retargeted()
            self._target, self._retargeted = target, True
            self.standing.settled_at = None
        self._wake.set()

    def look(self) -> None:
        """Look again soon: something happened that the loop cannot see."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; what is under way is cancelled too, and goes on after the next start."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                self._wake.clear()
                await self._look_and_work()
                await self._rest()
        finally:
            listening.cancel()
            await self._give_up(list(self._under_way))
            await asyncio.gather(listening, return_exceptions=True)

    async def _look_and_work(self) -> None:
        try:
            steps = await self._plan()
            if self._retargeted:
                self._retargeted = False
                unwanted = [step for step in self._under_way if step not in steps]
                if unwanted:
                    await self._give_up(unwanted)
                    steps = await self._plan()
        except Unavailable as exc:
            self._note_away(exc)
            return
        self._note_back()
        self._begin(steps)
        self._note(steps)
        await self._save()

    async def _plan(self) -> list[Step]:
        around = self._around
        self._just_ended.clear()  # what ends from here on may not be in what is seen
        # Probes that a living container was changed to are the ones that are asked.
        seen = around.health(self._record.known(await self._engine.observe()))
        now = around.clock()
        before, current = self.standing.current, self._record.seen(seen, now)
        self.standing.current = current
        if current != before:
            self._around.noticed()
        facts = self._record.facts(
            now,
            locked=around.locked(),
            disk_is_full=around.disk_is_full(),
            shares_ports=self._engine.shares_ports,
        )
        return plan(current, self._target, facts)

    def _begin(self, steps: Iterable[Step]) -> None:
        taken = {place for step in (*self._under_way, *self._just_ended) for place in _places(step)}
        for step in steps:
            if not isinstance(step, Noop) and step not in self._under_way and not taken & _places(step):
                task = asyncio.create_task(self._carry_out(step))
                self._under_way[step] = task
                task.add_done_callback(lambda _task, step=step: self._ended(step))

    def _ended(self, step: Action) -> None:
        self._under_way.pop(step, None)
        self._just_ended.add(step)
        self._wake.set()

    async def _carry_out(self, step: Action) -> None:
        log.info("step.started", step=name_of(step), subject=subject_of(step), why=step.why)
        self._record.begun(step)
        if isinstance(step, Stop | Fetch):
            await self._save()
        began = self._around.clock()
        try:
            async with self._fetching if isinstance(step, Fetch) else contextlib.nullcontext():
                await self._executor.carry_out(step)
        except IotisticError as exc:
            self._record.failed(step, self._around.clock(), exc.message)
            log.warning("step.failed", step=name_of(step), subject=subject_of(step), reason=exc.message)
        except Exception as exc:
            self._record.failed(step, self._around.clock(), f"a fault of the agent: {exc!r}")
            log.exception("step.failed", step=name_of(step), subject=subject_of(step))
        else:
            self._record.done(step)
            took_s = round(self._around.clock() - began, 3)
            log.info("step.done", step=name_of(step), subject=subject_of(step), seconds=took_s)

    async def _give_up(self, steps: Iterable[Action]) -> None:
        tasks = [self._under_way[step] for step in steps if step in self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait until something happens, something is due, or it is time to look again."""
        due = [
            step.until for step in self.standing.steps if isinstance(step, Noop) and step.until is not None
        ]
        pause_s = self.look_every_s
        if due:
            pause_s = min(pause_s, max(min(due) - self._around.clock(), _SOON_S))
        if self.standing.engine_away:
            self._away_s = min(self._away_s * 2, _AWAY_MOST_S)
            pause_s = self._away_s * random.uniform(0.5, 1)  # noqa: S311  jitter, not a secret
        # Not wait_for, which loses a cancellation that comes together with the event (Python 3.11).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()

    async def _listen(self) -> None:
        """Look as soon as the engine says that something happened."""
        pause_s = _AWAY_FIRST_S
        while True:
            try:
                async for event in self._engine.events():
                    pause_s = _AWAY_FIRST_S
                    self._hear(event)
            except Unavailable:
                pass  # whoever looks says so
            except Exception:
                log.exception("engine.not_listened_to", engine=self._engine.name)
            self._wake.set()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _AWAY_MOST_S)

    def _hear(self, event: Event) -> None:
        fell = event.change is Change.ENDED and not event.by_order
        known = next((one for one in self.standing.current.containers if one.id == event.container_id), None)
        if fell and known is not None and event.exit_code != 0:
            release = Release(known.key, known.config)
            self._record.crashed(release, self._around.clock(), f"exit {event.exit_code}")
            log.warning("container.crashed", service=known.name, exit_code=event.exit_code)
        self._wake.set()

    def _note(self, steps: list[Step]) -> None:
        before, self.standing.steps = self.standing.steps, steps
        if steps != before:
            self._around.noticed()
        is_settled = not self._under_way and all(isinstance(step, Noop) for step in steps)
        if not is_settled:
            self.standing.settled_at = None
        elif self.standing.settled_at is None:
            self.standing.settled_at = self._around.clock()
            log.info("device.settled", waiting=len(steps))
        for step in steps:
            if isinstance(step, Noop) and step not in before:
                log.info("step.put_off", subject=step.subject, why=step.why)

    def _note_away(self, exc: IotisticError) -> None:
        if not self.standing.engine_away:
            log.warning("engine.lost", engine=self._engine.name, reason=exc.message)
        self.standing.engine_away = exc.message

    def _note_back(self) -> None:
        if self.standing.engine_away:
            log.info("engine.back", engine=self._engine.name)
        self.standing.engine_away, self._away_s = "", _AWAY_FIRST_S

    async def _save(self) -> None:
        if self._around.save is not None:
            await self._around.save(self._record)


def _places(step: Action) -> frozenset[object]:
    """Return what a step works on, so that no two work on the same."""
    if isinstance(step, Start):
        return frozenset({step.service.key, *({step.container_id} if step.container_id else ())})
    if (container_id := getattr(step, "container_id", None)) is not None:
        return frozenset({container_id})
    return frozenset({(type(step).__name__.removeprefix("Remove").removeprefix("Create"), subject_of(step))})
