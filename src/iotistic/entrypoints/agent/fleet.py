"""Many real agents in one process, each with a disk and a simulated engine of its own.

Only the containers are simulated: store, record, reconciler and locks are those of a device. All write their
files in a few shared threads. With `chaos` engines fail and services fall over, the same for the same seed.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.entrypoints.agent.assembly import Agent, AgentSettings, open_agent
from iotistic.entrypoints.agent.fleet_cloud import CloudLine, FleetCloud
from iotistic.planning.model import Status, Target
from iotistic.planning.steps import name_of

_DISK_THREADS = 4
_OPENING_AT_ONCE = 32
_JOINING_AT_ONCE, _JOINS_WITHIN_S, _LOOKS_EVERY_S = 64, 10.0, 0.1
"""With 2,000 at once each request would wait for those of all others: longer than a device has patience."""
_CHAOS_EVERY_S = 1.0
_KILLED = 137


class Doing(StrEnum):
    """What an agent is at."""

    STARTING = "starting"
    JOINING = "joining"
    """It is not known to the cloud yet, or has no target from it."""
    REFUSED = "refused"
    """The cloud does not want it."""
    WORKING = "working"
    WAITING = "waiting"
    """For the time to try again what did not succeed."""
    SETTLED = "settled"


@dataclass(frozen=True)
class FleetPlan:
    """How many, where, and how rough.

    `chaos` is the share of engine calls that fail, and of devices each minute on which a service falls over;
    `call_s` the seconds that an engine takes for a call. With `unlike` devices are between so many times as fast
    and so many times as slow, and with `jitter` no call takes as long as the one before (standard deviation, of 1).
    """

    count: int
    target: Target
    data: Path
    seed: int = 1
    chaos: float = 0.0
    call_s: float = 0.0
    unlike: float = 1.0
    jitter: float = 0.0
    cloud: FleetCloud | None = None
    """Where targets come from instead."""


@dataclass
class Member:
    """One agent; `behaviours` says what its images do."""

    number: int
    engine: SimulatedEngine
    behaviours: dict[str, Behaviour]
    agent: Agent | None = None
    line: CloudLine | None = None

    @property
    def doing(self) -> Doing:
        """What it is at."""
        if self.agent is None:
            return Doing.STARTING
        if self.line is not None and not self.line.has_target:
            status = self.line.status
            return Doing.REFUSED if status is not None and status.is_refused else Doing.JOINING
        standing = self.agent.reconciler.standing
        if standing.settled_at is None or self.agent.reconciler.under_way:
            return Doing.WORKING
        return Doing.WAITING if standing.steps else Doing.SETTLED

    def noticed(self) -> None:
        """Hear that something on the device changed."""
        if self.line is not None:
            self.line.noticed()

    async def crash(self, chance: random.Random) -> bool:
        """Let a service fall over as by `kill -9`; say whether one was running."""
        running = [one for one in self.engine.world.containers.values() if one.status is Status.RUNNING]
        if not running:
            return False
        image = chance.choice(running).config.image
        self.behaviours[image] = Behaviour(ends_after_s=0, exit_code=_KILLED)
        await self.engine.observe()
        del self.behaviours[image]
        return True


@dataclass
class FleetTally:
    """How far the fleet is. Seconds since its start."""

    doing: Counter[Doing] = field(default_factory=Counter[Doing])
    steps: Counter[str] = field(default_factory=Counter[str])
    """What is being done now, by the names of steps."""
    crashes: int = 0
    all_settled_s: float | None = None
    """When all were settled for the first time."""


class Fleet:
    """Runs until it is cancelled or told to stop; an agent that cannot be opened ends it."""

    def __init__(self, plan: FleetPlan) -> None:
        self._plan = plan
        self._began = time.monotonic()
        self._settings = AgentSettings(reconciliation_interval_ms=30_000)
        self.members = [self._member(number) for number in range(plan.count)]
        self.tally = FleetTally()
        self._joining = asyncio.Semaphore(_JOINING_AT_ONCE)

    def look(self) -> FleetTally:
        """Count again who does what."""
        tally = self.tally
        tally.doing = Counter(member.doing for member in self.members)
        tally.steps = Counter(
            name_of(step) for agent in self._agents() for step in agent.reconciler.under_way
        )
        if tally.all_settled_s is None and tally.doing[Doing.SETTLED] == len(self.members):
            tally.all_settled_s = time.monotonic() - self._began
        return tally

    async def run(self, stop: asyncio.Event) -> None:
        """Run all agents until told to stop. Raises what opening an agent raises."""
        opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        disk = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="disk")
        self._began = time.monotonic()
        ending = asyncio.create_task(stop.wait())
        works = [asyncio.create_task(self._run(member, disk, opening)) for member in self.members]
        if self._plan.chaos:
            works.append(asyncio.create_task(self._make_chaos()))
        try:
            await _until_one_ends([ending, *works])
        finally:
            for task in (ending, *works):
                task.cancel()
            await asyncio.gather(ending, *works, return_exceptions=True)
            disk.shutdown(wait=True)

    def _member(self, number: int) -> Member:
        plan, behaviours = self._plan, dict[str, Behaviour]()
        seed = plan.seed * 1_000_003 + number
        pace = plan.unlike ** random.Random(f"pace {seed}").uniform(-1, 1)  # noqa: S311  as chaos: the same each time
        manner = Manner(call_s=plan.call_s, pace=pace, jitter=plan.jitter, failing=plan.chaos, seed=seed)
        return Member(number, SimulatedEngine(time.time, manner, behaviours), behaviours)

    def _agents(self) -> Iterable[Agent]:
        return (member.agent for member in self.members if member.agent is not None)

    async def _run(self, member: Member, disk: ThreadPoolExecutor, opening: asyncio.Semaphore) -> None:
        folder = self._plan.data / f"agent-{member.number:05}"
        async with contextlib.AsyncExitStack() as leaving:
            async with opening:
                opened = open_agent(
                    self._settings, folder, engine=member.engine, disk=disk, noticed=member.noticed
                )
                agent = await leaving.enter_async_context(opened)
                await agent.store.device.load()
            member.agent = agent
            try:
                await self._work(member, agent)
            finally:
                member.agent = None

    async def _work(self, member: Member, agent: Agent) -> None:
        if self._plan.cloud is None:
            agent.reconciler.declare(self._plan.target)
            await agent.reconciler.run()
            return
        member.line = CloudLine(self._plan.cloud, agent, member.number)
        async with asyncio.TaskGroup() as tasks:
            async with self._joining:
                tasks.create_task(member.line.run())
                await _known(member)
            await member.line.until_target()
            tasks.create_task(agent.reconciler.run())

    async def _make_chaos(self) -> None:
        chance = random.Random(self._plan.seed)  # noqa: S311  a simulator is to repeat itself
        share = self._plan.chaos * _CHAOS_EVERY_S / 60
        while True:
            await asyncio.sleep(_CHAOS_EVERY_S)
            for member in self.members:
                if chance.random() < share:
                    self.tally.crashes += await member.crash(chance)


async def _known(member: Member) -> None:
    """Return once an agent works for its cloud, is refused, or has had its time to be one or the other."""
    ends_at = time.monotonic() + _JOINS_WITHIN_S
    while member.doing is Doing.JOINING and time.monotonic() < ends_at:  # noqa: ASYNC110  ends at the deadline
        await asyncio.sleep(_LOOKS_EVERY_S)


async def _until_one_ends(tasks: Iterable[asyncio.Task[object]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
