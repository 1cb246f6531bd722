"""The loop around the planner, on a simulated engine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Status,
    Target,
)

WITHIN_S = 5.0


class Unlocked:
    async def take(self, app_id: str) -> None:
        pass

    async def release(self, app_id: str) -> None:
        pass


class Bench:
    """An agent's loop on an engine."""

    def __init__(self, engine: SimulatedEngine, record: Record | None = None) -> None:
        self.engine = engine
        self.record = record or Record()
        self.loop = Reconciler(
            engine, Executor(engine, Unlocked()), self.record, Surroundings(time.time), look_every_s=0.2
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, met: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        await self.until(lambda: self.loop.standing.settled_at is not None)

    def container(self, name: str = "web") -> Container | None:
        return next((one for one in self.engine.world.containers.values() if one.name == name), None)

    def runs(self, image: str) -> bool:
        one = self.container()
        return one is not None and one.config.image == image and one.status is Status.RUNNING


def target(image: str = "web:1", state: ServiceState = ServiceState.RUNNING) -> Target:
    return Target((App("1", "shop", (Service(ServiceKey("1", "9"), "web", ServiceConfig(image), state),)),))


def engine(**behaviours: Behaviour) -> SimulatedEngine:
    named = {name.replace("_", ":"): behaviour for name, behaviour in behaviours.items()}
    return SimulatedEngine(time.time, Manner(), named)


async def test_a_declared_service_runs() -> None:
    async with Bench(engine()).running() as bench:
        bench.loop.declare(target())
        await bench.until(lambda: bench.runs("web:1"))
        await bench.settled()


async def test_what_was_stopped_by_hand_is_started_again_at_once() -> None:
    async with Bench(engine()).running() as bench:
        bench.loop.declare(target())
        await bench.settled()
        before = bench.container()
        assert before is not None
        bench.engine.world.stop(before.id)
        await bench.until(lambda: bench.runs("web:1"))
        after = bench.container()
        assert after is not None
        assert after.id == before.id


async def test_what_was_removed_by_hand_is_made_again() -> None:
    async with Bench(engine()).running() as bench:
        bench.loop.declare(target())
        await bench.settled()
        before = bench.container()
        assert before is not None
        bench.engine.world.stop(before.id)
        bench.engine.world.remove(before.id)
        await bench.until(lambda: bench.runs("web:1"))


async def test_a_newer_target_cancels_the_download_of_the_older() -> None:
    slow = SimulatedEngine(time.time, Manner(fetch_s=60))
    async with Bench(slow).running() as bench:
        bench.loop.declare(target("web:1"))
        await bench.until(lambda: bench.loop.under_way)
        slow.world.images.add("web:2")
        bench.loop.declare(target("web:2"))
        await bench.until(lambda: bench.runs("web:2"))
        assert bench.engine.world.images == {"web:2"}


async def test_stopping_keeps_the_container_and_starting_uses_it() -> None:
    async with Bench(engine()).running() as bench:
        bench.loop.declare(target())
        await bench.settled()
        first = bench.container()
        bench.loop.declare(target(state=ServiceState.STOPPED))
        await bench.until(lambda: (one := bench.container()) and one.status is Status.EXITED)
        bench.loop.declare(target())
        await bench.until(lambda: bench.runs("web:1"))
        second = bench.container()
        assert first is not None
        assert second is not None
        assert second.id == first.id


async def test_an_image_that_nobody_has_leaves_what_runs_alone_and_says_so() -> None:
    async with Bench(engine(web_2=Behaviour(missing=True))).running() as bench:
        bench.loop.declare(target("web:1"))
        await bench.settled()
        bench.loop.declare(target("web:2"))
        await bench.until(
            lambda: any("no registry has web:2" in step.why for step in bench.loop.standing.steps)
        )
        assert bench.runs("web:1")


async def test_a_release_that_keeps_crashing_gives_way_to_the_last_good_one() -> None:
    record = Record(last_good={ServiceKey("1", "9"): ServiceConfig("web:1")})
    crashing = engine(web_2=Behaviour(ends_after_s=0.0))
    async with Bench(crashing, record).running() as bench:
        bench.loop.declare(target("web:2"))
        release = (ServiceKey("1", "9"), ServiceConfig("web:2"))
        await bench.until(lambda: release in record.crashes)
        record.crashes[release] = replace(record.crashes[release], count=5)  # type: ignore[index]
        bench.loop.look()
        await bench.until(lambda: bench.runs("web:1"))


class AwayEngine(SimulatedEngine):
    """An engine that is away at first."""

    away = True

    async def observe(self) -> Current:
        if self.away:
            raise EngineUnavailable("the socket is not there")
        return await super().observe()


async def test_an_engine_that_comes_back_is_used() -> None:
    away = AwayEngine(time.time)
    async with Bench(away).running() as bench:
        bench.loop.declare(target())
        await bench.until(lambda: bench.loop.standing.engine_away)
        away.away = False
        await bench.until(lambda: bench.runs("web:1"))
        assert not bench.loop.standing.engine_away


@pytest.mark.parametrize("seed", range(8))
async def test_an_engine_that_fails_now_and_then_is_enough(seed: int) -> None:
    shaky = SimulatedEngine(time.time, Manner(failing=0.3, seed=seed))
    bench = Bench(shaky)
    async with bench.running():
        bench.loop.declare(target())

        def hurried() -> bool:  # what failed is tried again at once rather than after a while
            bench.record.failures.clear()
            bench.loop.look()
            return bench.runs("web:1")

        await bench.until(hurried)
    assert len(shaky.world.containers) == 1


async def test_an_agent_that_is_killed_anywhere_goes_on_after_it() -> None:
    slow = SimulatedEngine(time.time, Manner(call_s=0.004, fetch_s=0.004))
    record = Record()
    for kill in range(40):
        async with Bench(slow, record).running() as bench:
            bench.loop.declare(target(f"web:{kill % 3}"))
            await asyncio.sleep(0.001 * (kill % 17))
    async with Bench(slow, record).running() as bench:
        bench.loop.declare(target("web:7"))
        await bench.until(lambda: bench.runs("web:7"))
        await bench.settled()
        assert len(slow.world.containers) == 1
