"""The collector on engines that are here and away: every line once, under the same id."""

import asyncio
import contextlib
import time
from dataclasses import replace

from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StepRefused
from iotistic.agent.engines.port import LogLine
from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.logs.collector import LogCollector
from iotistic.agent.logs.entry import Level
from iotistic.agent.logs.watched import Watched
from iotistic.agent.reconcile.reconciler import Standing
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
    Target,
)

NOW = 10_000.0
KEY = ServiceKey("7", "3")


def container(container_id="c1", status=Status.RUNNING, started_at=1.0, name="web"):
    return Container(container_id, KEY, name, ServiceConfig("web:1"), status, started_at=started_at)


def line(number, at=None):
    return LogLine(NOW + number if at is None else at, f"line {number}")


class Engine:
    """Keeps lines; can be away, and lets them be followed."""

    def __init__(self):
        self.lines, self.away, self.calls = {}, None, []
        self.ended = set()
        self._changed = asyncio.Event()

    def print(self, *lines, container_id="c1"):
        self.lines.setdefault(container_id, []).extend(lines)
        self.change()

    def change(self):
        self._changed.set()
        self._changed = asyncio.Event()

    async def logs(self, container_id, *, since=0.0, follow=True):
        self.calls.append((container_id, since))
        done = 0
        while True:
            if self.away is not None:
                raise self.away
            found = [one for one in self.lines.get(container_id, ()) if one.at >= since]
            for one in found[done:]:
                yield one
            done = len(found)
            if container_id in self.ended:
                return
            await self._changed.wait()


class Memory:
    def __init__(self, **values):
        self.values, self.puts = values, 0

    async def load(self):
        return dict(self.values)

    async def put(self, name, value):
        self.values[name] = value
        self.puts += 1


class Collecting:
    def __init__(self, engine=None, memory=None, clock=lambda: NOW):
        self.engine, self.memory = engine or Engine(), memory
        self.containers, self.entries = [container()], []
        self.clock = clock

    @contextlib.asynccontextmanager
    async def running(self, **options):
        self.collector = LogCollector(
            self.engine,
            lambda: self.containers,
            self.entries.append,
            self.clock,
            memory=self.memory,
            look_every_s=0.01,
            **options,
        )
        task = asyncio.create_task(self.collector.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def messages(self):
        return [one.message for one in self.entries]

    async def until(self, met):
        async with asyncio.timeout(10):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)


async def test_lines_come_with_their_service_and_level():
    async with Collecting().running() as device:
        device.engine.print(LogLine(NOW, "ERROR oh\0", is_stderr=True))
        await device.until(lambda: device.entries)

    (entry,) = device.entries
    assert (entry.message, entry.level, entry.timestamp) == ("ERROR oh\ufffd", Level.ERROR, 10_000_000)
    assert (entry.service_id, entry.service_name, entry.container_id) == ("3", "web", "c1")
    assert (entry.is_stderr, entry.is_system, entry.source) == (True, False, ("container", "web"))


async def test_lines_go_on_after_the_engine_was_away():
    async with Collecting().running() as device:
        device.engine.print(line(1), line(2))
        await device.until(lambda: len(device.entries) == 2)
        device.engine.away = EngineUnavailable("gone")
        device.engine.change()
        device.engine.print(line(2), line(3))  # one says the same in the same moment
        await device.until(lambda: len(device.engine.calls) > 1)
        device.engine.away = None
        await device.until(lambda: len(device.entries) == 4)
        device.engine.print(line(4))
        await device.until(lambda: len(device.entries) == 5)

    assert device.messages == ["line 1", "line 2", "line 2", "line 3", "line 4"]
    assert len({one.id for one in device.entries}) == 5


async def test_an_agent_that_starts_again_goes_on_where_it_was():
    memory = Memory()
    first = Collecting(memory=memory)
    async with first.running():
        first.engine.print(line(1), line(2))
        await first.until(lambda: len(first.entries) == 2)
    second = Collecting(first.engine, memory)
    async with second.running():
        second.engine.print(line(3))
        await second.until(lambda: second.entries)

    assert second.messages == ["line 3"]


async def test_an_agent_that_lost_its_position_tells_the_lines_again_under_their_ids():
    first = Collecting()
    async with first.running():
        first.engine.print(line(1), line(1), line(2, at=NOW + 1))
        await first.until(lambda: len(first.entries) == 3)
    second = Collecting(first.engine, Memory(log_positions={"c1": "garbage", "c2": None}))
    async with second.running():
        await second.until(lambda: len(second.entries) == 3)

    assert second.entries == first.entries
    assert len({one.id for one in first.entries}) == 3


async def test_positions_are_written_seldom_and_only_when_they_changed():
    memory = Memory()
    async with Collecting(memory=memory).running(keep_every_s=0.0) as device:
        device.engine.print(line(1))
        await device.until(lambda: memory.puts == 1)
        looks = len(device.engine.calls)
        await asyncio.sleep(0.1)
        assert memory.puts == 1
        assert len(device.engine.calls) == looks


async def test_what_is_older_than_the_ring_keeps_is_not_read():
    async with Collecting().running(most_age_s=60.0) as device:
        device.engine.print(line(0, at=NOW - 61), line(1, at=NOW - 59))
        await device.until(lambda: device.entries)

    assert device.messages == ["line 1"]


async def test_a_container_that_has_ended_is_read_once_and_again_after_its_next_run():
    device = Collecting()
    device.containers = [container(status=Status.EXITED)]
    device.engine.ended.add("c1")
    device.engine.print(line(1))
    async with device.running():
        await device.until(lambda: device.entries and not device.collector.followed)
        calls = len(device.engine.calls)
        await asyncio.sleep(0.1)
        assert len(device.engine.calls) == calls
        device.engine.print(line(2))
        device.containers = [container(status=Status.EXITED, started_at=2.0)]
        await device.until(lambda: len(device.entries) == 2)

    assert device.messages == ["line 1", "line 2"]


async def test_a_container_that_restarts_is_followed_on():
    async with Collecting().running() as device:
        device.engine.print(line(1))
        await device.until(lambda: device.entries)
        device.engine.ended.add("c1")
        device.engine.change()
        await device.until(lambda: len(device.engine.calls) > 1)
        device.engine.ended.clear()
        device.containers = [container(started_at=2.0)]
        device.engine.print(line(2))
        await device.until(lambda: len(device.entries) == 2)


async def test_a_container_that_is_not_started_is_left_alone():
    device = Collecting()
    device.containers = [container(status=Status.CREATED)]
    async with device.running():
        await asyncio.sleep(0.05)
        assert device.engine.calls == []


async def test_a_container_that_is_gone_is_forgotten():
    async with Collecting(memory=Memory()).running() as device:
        device.engine.print(line(1))
        await device.until(lambda: device.entries)
        device.containers = []
        await device.until(lambda: not device.collector.followed and not device.collector._readers)
    assert device.memory.values.get("log_positions", {}) == {}


async def test_logs_that_cannot_be_read_are_asked_for_once():
    device = Collecting()
    device.engine.away = StepRefused("no logs are kept of it")
    async with device.running():
        await device.until(lambda: device.engine.calls)
        await asyncio.sleep(0.1)

    assert len(device.engine.calls) == 1


async def test_a_container_that_went_between_two_looks_costs_nothing_else():
    device = Collecting()
    device.engine.away = ContainerNotFound("gone")
    device.containers = [container(), container("c2", Status.EXITED)]
    async with device.running():
        await device.until(lambda: len(device.engine.calls) >= 2)
        device.engine.away = None
        device.engine.print(line(1))
        await device.until(lambda: device.entries)


async def test_a_disk_that_takes_no_writes_stops_no_line():
    class Full(Memory):
        async def put(self, name, value):
            raise EngineUnavailable("the disk is full")

    async with Collecting(memory=Full()).running(keep_every_s=0.0) as device:
        device.engine.print(line(1))
        await device.until(lambda: device.entries)
        device.engine.print(line(2))
        await device.until(lambda: len(device.entries) == 2)


async def test_a_flood_leaves_the_loop_to_others():
    async with Collecting().running() as device:
        began = time.monotonic()
        device.engine.print(*(line(0, at=NOW + number / 1e6) for number in range(2000)))
        most, before = 0, 0
        while len(device.entries) < 2000:
            await asyncio.sleep(0)
            most, before = max(most, len(device.entries) - before), len(device.entries)
        took_s = time.monotonic() - began

    assert took_s > 0.7  # 2,000 lines a second of one container
    assert most <= 100  # between two turns of the loop


async def test_a_container_that_will_not_be_there_long_is_read_when_somebody_says_so():
    device = Collecting()
    device.containers = []
    async with device.running() as collecting:
        collecting.collector._look_every_s = 1000.0
        await asyncio.sleep(0.05)
        device.containers = [container()]
        device.engine.print(line(1))
        collecting.collector.look()
        await device.until(lambda: device.entries)


async def test_the_second_container_of_a_hand_over_speaks_for_its_service():
    class Reconciler:
        target = Target((App("7", "shop", (Service(KEY, "web", ServiceConfig("web:2")),)),))
        standing = Standing(current=Current((container(), replace(container("c2"), name="shop_web_3.a1b2"))))

    assert [one.name for one in Watched(Reconciler())()] == ["web", "web"]


async def test_simulated_agents_have_logs():
    engine = SimulatedEngine(time.time, Manner(says_every_s=0.02, seed=7))
    engine.world.images.add("web:1")
    container_id = await engine.create(Service(KEY, "web", ServiceConfig("web:1")))
    await engine.start(container_id)
    device = Collecting(engine, clock=time.time)
    async with device.running():
        device.containers = list((await engine.observe()).containers)
        await device.until(lambda: len(device.entries) > 10)
        again = [one async for one in engine.logs(container_id, follow=False)]

    assert [one.text for one in again][: len(device.entries)] == device.messages
    assert all("web" in one.message for one in device.entries)
