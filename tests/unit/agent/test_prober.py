"""The loop that asks: attaches, lets go, tells, and is cheap."""

import asyncio
import contextlib
import time
from dataclasses import replace

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.health.checking import Checker, Said
from iotistic.agent.health.prober import Prober, tell_reconciler
from iotistic.agent.health.watch import Answer, Turn
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Health,
    Probe,
    ProbeKind,
    Probes,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
    Target,
)

WITHIN_S = 10.0
NOW = 1_800_000_000.0


def probe(**values):
    return Probe(ProbeKind.EXEC, **{"command": ("ask",), "period_s": 0.1, **values})


def container(number=1, probes=None, **values):
    config = ServiceConfig("web:1", probes=probes or Probes(readiness=probe()))
    values = {"status": Status.RUNNING, "started_at": NOW, **values}
    return Container(f"c{number}", ServiceKey("1", str(number)), f"web{number}", config, **values)


class Insides:
    """Containers that answer what they are told to, and count questions."""

    def __init__(self):
        self.codes, self.asked, self.fault = {}, {}, None

    async def address(self, container):
        raise AssertionError

    async def execute(self, container, command):
        self.asked[container.id] = self.asked.get(container.id, 0) + 1
        if self.fault:
            raise self.fault
        return self.codes.get((container.id, command[0]), 0)


class Bench:
    def __init__(self):
        self.insides, self.events = Insides(), []
        self.prober = Prober(Checker(self.insides), lambda: NOW, self.events.append)

    def health(self, *containers):
        return [one.health for one in self.prober.health(Current(containers)).containers]

    @property
    def turns(self):
        return [event.turn for event in self.events]


@contextlib.asynccontextmanager
async def bench():
    made = Bench()
    try:
        yield made
    finally:
        await made.prober.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set()


async def until(met):
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


async def test_health_follows_what_the_container_says():
    async with bench() as it:
        one = container()
        seen = it.health(one)
        await until(lambda: it.health(one) == [Health.READY])
        it.insides.codes["c1", "ask"] = 1
        await until(lambda: it.health(one) == [Health.NOT_READY])
        it.insides.codes.clear()
        await until(lambda: it.health(one) == [Health.READY])

    assert seen == [Health.STARTING]
    assert it.turns == [Turn.READINESS_CHANGED] * 3
    assert it.events[1].reason == "readiness probe: exit 1"


async def test_containers_without_probes_keep_what_the_engine_says():
    async with bench() as it:
        plain = replace(container(), config=ServiceConfig("web:1"))
        stopped = container(2, status=Status.EXITED)
        seen = it.health(plain, stopped)

    assert (seen, it.prober.attached) == ([Health.UNKNOWN] * 2, 0)


async def test_startup_holds_the_others_back():
    probes = Probes(probe(command=("up",)), probe(command=("live",)), probe(command=("ready",)))
    async with bench() as it:
        one = container(probes=probes)
        it.insides.codes = {("c1", "up"): 1, ("c1", "live"): 1, ("c1", "ready"): 1}
        it.health(one)
        await until(lambda: it.insides.asked.get("c1") == 2)
        before = it.health(one)
        it.insides.codes.clear()
        await until(lambda: it.health(one) == [Health.READY])

    assert before == [Health.STARTING]
    assert it.turns == [Turn.STARTUP_COMPLETED, Turn.READINESS_CHANGED]


async def test_a_failed_container_is_said_once_and_asked_nothing_more():
    async with bench() as it:
        one = container(probes=Probes(liveness=probe(failure_threshold=2)))
        it.insides.codes["c1", "ask"] = 3
        it.health(one)
        await until(lambda: it.health(one) == [Health.FAILED])
        asked = it.insides.asked["c1"]
        await asyncio.sleep(0.25)
        after = it.health(one)

    assert (after, it.turns) == ([Health.FAILED], [Turn.LIVENESS_FAILED])
    assert it.insides.asked["c1"] == asked == 2
    assert it.events[0].reason == "liveness probe: exit 3"


async def test_another_start_of_a_container_begins_anew():
    async with bench() as it:
        one = container(probes=Probes(liveness=probe(failure_threshold=1)))
        it.insides.codes["c1", "ask"] = 1
        it.health(one)
        await until(lambda: it.health(one) == [Health.FAILED])
        it.health(replace(one, status=Status.EXITED))
        again = it.health(replace(one, started_at=NOW + 1))
        await until(lambda: len(it.events) == 2)

    assert again == [Health.UNKNOWN]


async def test_a_container_that_is_gone_costs_nothing():
    async with bench() as it:
        it.health(*(container(number) for number in range(50)))
        await until(lambda: len(it.insides.asked) == 50)
        it.health()
        await asyncio.sleep(0)
        asked = sum(it.insides.asked.values())
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.sleep(0.25)

    assert (it.prober.attached, tasks) == (0, set())
    assert sum(it.insides.asked.values()) == asked


async def test_a_frozen_container_is_not_blamed_and_goes_on_afterwards():
    async with bench() as it:
        one = container(probes=Probes(liveness=probe(failure_threshold=1)))
        it.health(one)
        await until(lambda: it.insides.asked.get("c1"))
        paused = replace(one, status=Status.PAUSED)
        it.health(paused)
        it.insides.codes["c1", "ask"] = 1
        asked = it.insides.asked["c1"]
        await asyncio.sleep(0.25)
        frozen = it.health(paused), it.insides.asked["c1"]
        it.health(one)
        await until(lambda: it.turns == [Turn.LIVENESS_FAILED])

    assert frozen == ([Health.UNKNOWN], asked)


async def test_freezing_at_the_moment_of_a_question_does_not_end_the_asking():
    async with bench() as it:
        one = container()
        for _ in range(20):
            it.health(one)
            it.prober._begin_asking(it.prober._attached["c1"], "readiness")
            it.health(replace(one, status=Status.PAUSED))
            await asyncio.sleep(0)
        it.health(one)
        await until(lambda: it.health(one) == [Health.READY])


async def test_an_engine_that_is_away_changes_nothing():
    async with bench() as it:
        one = container(probes=Probes(liveness=probe(failure_threshold=1)))
        it.insides.fault = EngineUnavailable()
        it.health(one)
        await until(lambda: it.insides.asked.get("c1", 0) >= 3)

    assert it.events == []


async def test_an_agent_that_comes_back_asks_what_runs_already():
    async with bench() as it:
        one = container(probes=Probes(readiness=probe(initial_delay_s=3600)), started_at=NOW - 86_400)
        seen = it.health(one)
        await until(lambda: it.health(one) == [Health.READY])

    assert seen == [Health.STARTING]


async def test_the_delay_counts_from_the_start_of_the_container():
    async with bench() as it:
        young = container(1, Probes(readiness=probe(initial_delay_s=3600)))
        old = container(2, Probes(readiness=probe(initial_delay_s=3600)), started_at=NOW - 3600)
        ahead = container(3, Probes(readiness=probe(initial_delay_s=3600)), started_at=NOW + 9_999_999)
        it.health(young, old, ahead)
        await until(lambda: "c2" in it.insides.asked)

    assert list(it.insides.asked) == ["c2"]


async def test_other_probes_of_a_living_container_are_asked_from_now_on():
    async with bench() as it:
        one = container()
        it.health(one)
        await until(lambda: it.health(one) == [Health.READY])
        live = probe(command=("live",), failure_threshold=1)
        changed = container(probes=Probes(liveness=live, readiness=probe()))
        it.insides.codes["c1", "live"] = 1
        seen = it.health(changed)
        await until(lambda: it.health(changed) == [Health.FAILED])

    assert seen == [Health.READY]


async def test_thousands_of_probes_in_one_loop_are_cheap():
    class Instant:
        async def ask(self, container, probe):
            return Said(Answer.GOOD)

    prober = Prober(Instant(), lambda: NOW)
    current = Current(tuple(container(number, Probes(None, probe(), probe())) for number in range(2000)))
    prober.health(current)
    before = time.process_time()
    asked = 0
    async with asyncio.timeout(WITHIN_S):
        while asked < 20_000:
            await asyncio.sleep(0.05)
            asked = sum(one.run for known in prober._attached.values() for one in known.watch._asked.values())
    spent_s = time.process_time() - before
    began = time.process_time()
    prober.health(current)
    looked_s = time.process_time() - began
    await prober.close()

    assert spent_s / asked < 300e-6  # measured 22 us; the rest is for a busy machine
    assert looked_s < 2.0  # measured 0.02; what grows with the square of the containers takes much longer


class Unlocked:
    async def take(self, app_id):
        pass

    async def release(self, app_id):
        pass


async def test_the_reconciler_starts_a_container_again_whose_probe_fails():
    engine, record, insides = SimulatedEngine(time.time), Record(), Insides()
    config = ServiceConfig("web:1", probes=Probes(liveness=probe(failure_threshold=1)))
    looks = []
    prober = Prober(
        Checker(insides), time.time, tell_reconciler(record, time.time, lambda: [look() for look in looks])
    )
    loop = Reconciler(
        engine, Executor(engine, Unlocked()), record, Surroundings(time.time, health=prober.health)
    )
    looks.append(loop.look)
    loop.declare(Target((App("1", "shop", (Service(ServiceKey("1", "9"), "web", config),)),)))
    task = asyncio.create_task(loop.run())
    await until(lambda: insides.asked)
    (one,) = engine.world.containers.values()
    insides.codes[one.id, "ask"] = 1
    await until(lambda: engine.world.containers[one.id].status is Status.EXITED)
    (crashed,) = record.crashes.values()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await prober.close()

    assert (crashed.count, crashed.reason) == (1, "liveness probe: exit 1")


async def test_probes_that_a_living_container_was_changed_to_are_the_ones_that_are_asked():
    """Engines cannot change what a container was made with: only the record knows."""
    insides, seen = Insides(), []
    engine = SimulatedEngine(time.time)
    engine.world.fetch("web:1")
    config = ServiceConfig("web:1")
    service = Service(ServiceKey("1", "9"), "web", config)
    container_id = engine.world.create(service)
    engine.world.start(container_id)
    wanted = replace(config, probes=Probes(readiness=probe()))
    record = Record(applied={container_id: wanted})
    loop = Reconciler(
        engine,
        Executor(engine, Unlocked()),
        record,
        Surroundings(time.time, health=lambda current: seen.append(current) or current),
    )
    loop.declare(Target((App("1", "shop", (replace(service, config=wanted),)),)))
    task = asyncio.create_task(loop.run())
    await until(lambda: seen)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert seen[0].containers[0].config.probes == wanted.probes
    assert insides.asked == {}
