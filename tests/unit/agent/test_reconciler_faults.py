"""Faults of ours and clocks that were wrong: the loop around the planner goes on, and does not spin."""

import asyncio
import time
from collections.abc import AsyncIterator

from tests.unit.agent.test_reconciler import Bench, engine, target

from iotistic.agent.engines.port import Event
from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.agent.reconcile.record import Record
from iotistic.planning.facts import Facts
from iotistic.planning.model import (
    App,
    Current,
    Failures,
    Mount,
    Named,
    Release,
    Service,
    ServiceConfig,
    ServiceKey,
    Target,
)
from iotistic.planning.planner import plan
from iotistic.planning.steps import Action, Fetch

YEAR_S = 365 * 86_400.0
KEY = ServiceKey("1", "9")


class Faulty(SimulatedEngine):
    """An engine whose author did not think of something."""

    starts = listened = 0

    async def start(self, container_id: str) -> None:
        self.starts += 1
        raise KeyError("NetworkSettings")

    async def events(self) -> AsyncIterator[Event]:
        self.listened += 1
        if self.listened == 1:
            raise ValueError("that was no JSON")
        async for event in super().events():
            yield event


async def test_a_step_that_fails_by_a_fault_of_ours_is_put_off_like_any_other() -> None:
    faulty = Faulty(time.time)
    async with Bench(faulty).running() as bench:
        bench.loop.declare(target())
        await bench.settled()
        await asyncio.sleep(0.3)

        (put_off,) = bench.loop.standing.steps
        assert faulty.starts == 2  # making it, and starting what was made
        assert "KeyError" in put_off.why


async def test_the_loop_listens_again_after_a_fault_of_ours() -> None:
    faulty = Faulty(time.time)
    async with Bench(faulty).running() as bench:
        await bench.until(lambda: faulty.listened == 2)


async def test_a_crash_noted_while_the_clock_was_a_year_ahead_holds_up_no_start() -> None:
    config = ServiceConfig("web:1")
    release = Release(KEY, config)
    record = Record(crashes={release: Failures(1, time.time() + YEAR_S, "exit 1")})
    async with Bench(engine(web_1=Behaviour(ends_after_s=0, exit_code=1)), record).running() as bench:
        bench.loop.declare(target())
        await bench.until(lambda: record.crashes[release].count > 2)  # it fell, and was started again

        assert record.crashes[release].at < time.time() + 1


def test_a_step_that_failed_while_the_clock_was_ahead_is_tried_again() -> None:
    failed: dict[Action, Failures] = {Fetch("web:1"): Failures(3, 1000.0 + YEAR_S, "no network")}

    assert plan(Current(), target(), Facts(1000.0, failed)) == [Fetch("web:1")]


async def test_a_purge_noted_while_the_clock_was_a_year_ahead_happens_once() -> None:
    """Otherwise every volume made from then on is older than the request, and goes again and again."""
    mounts = frozenset({Mount("data", "/data")})
    wanted = Target((App("1", "shop", (Service(KEY, "web", ServiceConfig("web:1", mounts=mounts)),)),))
    record = Record(purged_at={"1": time.time() + YEAR_S})
    simulated = SimulatedEngine(time.time)
    simulated.world.volumes[Named("1", "data")] = 1.0
    async with Bench(simulated, record).running() as bench:
        bench.loop.declare(wanted)
        await bench.until(lambda: bench.runs("web:1"))
        await bench.settled()

        assert simulated.world.volumes[Named("1", "data")] > 1.0
        assert record.purged_at == {}
