"""What people on the device ask for, with the real loop and store on a simulated engine."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest

from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.agent.operations.finding import AppUnknown, NameAmbiguous, ServiceUnknown
from iotistic.agent.operations.operations import Operations, Verb
from iotistic.agent.operations.room import Room
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.locks import FileLocks, LockHeld
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.planning.model import (
    App,
    Mount,
    Named,
    Restart,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Status,
    Target,
)

WAIT_S = 8.0


def service(name, app_id="1", image="web:1", state=ServiceState.RUNNING, **config):
    return Service(ServiceKey(app_id, f"{app_id}{name}"), name, ServiceConfig(image, **config), state)


def shop(*services, app_id="1", name="shop"):
    return App(app_id, name, services or (service("web"), service("db"), service("cache")))


SHOP = Target((shop(),))


class Device:
    def __init__(self, engine, store, folder):
        self.engine, self.store = engine, store
        self.locks = FileLocks(folder / "locks")

    async def begin(self):
        self.record = await self.store.record.load()
        self.record.held = await self.locks.regain(self.record.held)
        around = Surroundings(time.time, locked=self.locks.locked, save=self.store.record.save)
        self.loop = Reconciler(
            self.engine, Executor(self.engine, self.locks), self.record, around, look_every_s=0.2
        )
        room = Room(self.loop, self.record, self.store.metadata, self.locks, self.store.record.save)
        self.operations = await Operations.open(room)

    @contextlib.asynccontextmanager
    async def running(self, target=SHOP):
        await self.begin()
        self.operations.declare(target)
        tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self.operations.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, met):
        async with asyncio.timeout(WAIT_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)

    async def settled(self):
        await self.until(lambda: self.loop.standing.settled_at is not None)

    async def until_tidy(self):
        await self.until(lambda: not self.operations._keeper._is_untidy)

    def statuses(self):
        return {one.name: one.status for one in self.engine.world.containers.values()}

    def ids(self):
        return {one.name: one.id for one in self.engine.world.containers.values()}

    def started(self):
        return {one.name: one.started_at for one in self.engine.world.containers.values()}


@pytest.fixture
async def device(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    yield Device(SimulatedEngine(time.time), store, tmp_path)
    await store.close()


ALL_RUNNING = dict.fromkeys(("web", "db", "cache"), Status.RUNNING)
ALL_STOPPED = dict.fromkeys(("web", "db", "cache"), Status.EXITED)


async def test_a_service_is_stopped_and_started_in_the_same_container(device):
    async with device.running():
        await device.settled()
        before = device.ids()
        stopped = await device.operations.service(Verb.STOP, "web", wait_s=WAIT_S)
        assert stopped.done
        assert device.statuses() == ALL_RUNNING | {"web": Status.EXITED}
        started = await device.operations.service(Verb.START, "1web", wait_s=WAIT_S)

    assert started.done
    assert device.statuses() == ALL_RUNNING
    assert device.ids() == before
    assert device.operations.wishes == {}


async def test_a_service_is_paused_and_goes_on(device):
    async with device.running():
        await device.settled()
        assert (await device.operations.service(Verb.PAUSE, "web", wait_s=WAIT_S)).done
        assert device.statuses()["web"] is Status.PAUSED
        assert (await device.operations.service(Verb.START, "web", wait_s=WAIT_S)).done

    assert device.statuses() == ALL_RUNNING


async def test_an_app_is_stopped_started_and_restarted_with_all_of_its_services(device):
    async with device.running():
        await device.settled()
        before, began = device.ids(), device.started()
        stopped = await device.operations.app(Verb.STOP, "shop", wait_s=WAIT_S)
        assert (stopped.done, device.statuses()) == (True, ALL_STOPPED)
        started = await device.operations.app(Verb.START, "1", wait_s=WAIT_S)
        assert (started.done, device.statuses()) == (True, ALL_RUNNING)
        again = device.started()
        restarted = await device.operations.app(Verb.RESTART, "1", wait_s=WAIT_S)

    assert (restarted.done, device.statuses(), device.ids()) == (True, ALL_RUNNING, before)
    assert len(restarted.services) == 3
    assert all(began[name] < again[name] < device.started()[name] for name in before)


async def test_a_restart_of_an_app_leaves_what_is_to_be_stopped_or_paused(device):
    services = (
        service("web"),
        service("db", state=ServiceState.STOPPED),
        service("cache", state=ServiceState.PAUSED),
    )
    async with device.running(Target((shop(*services),))):
        await device.until(lambda: device.statuses().get("cache") is Status.PAUSED)
        outcome = await device.operations.app(Verb.RESTART, "shop", wait_s=WAIT_S)

    assert outcome.done
    assert device.statuses() == {"web": Status.RUNNING, "cache": Status.PAUSED}


async def test_a_wish_is_there_after_a_start_and_until_the_cloud_wants_something_else(device):
    async with device.running():
        await device.settled()
        await device.operations.service(Verb.STOP, "web", wait_s=WAIT_S)
    async with device.running():
        await device.settled()
        assert device.statuses() == ALL_RUNNING | {"web": Status.EXITED}
        other_options = replace(SHOP, options=replace(SHOP.options, keep_images=True))
        device.operations.declare(other_options)
        assert device.operations.wishes
        changed = shop(service("web"), service("db", image="db:2"), service("cache"))
        device.operations.declare(Target((changed,)))
        await device.until(lambda: device.statuses() == ALL_RUNNING)
        device.operations.declare(SHOP)
        await device.until(lambda: not device.loop.under_way and device.loop.standing.settled_at)
        assert device.statuses() == ALL_RUNNING
        await device.until_tidy()
    async with device.running():
        assert device.operations.wishes == {}


async def test_a_newer_target_in_the_middle_of_a_restart_wins(device):
    device.engine._manner = Manner(call_s=0.1)
    async with device.running():
        await device.settled()
        await device.operations.service(Verb.RESTART, "web")
        device.operations.declare(Target((shop(service("web", state=ServiceState.STOPPED)),)))
        await device.until(lambda: device.statuses() == {"web": Status.EXITED})
        await device.settled()
        assert device.operations.wishes == {}

    assert device.statuses() == {"web": Status.EXITED}


async def test_a_restart_goes_on_after_the_agent_died_in_the_middle(device):
    device.engine._manner = Manner(call_s=0.05)
    async with device.running():
        await device.settled()
        before = device.ids()
        await device.operations.service(Verb.RESTART, "web")
        await device.until(lambda: device.statuses()["web"] is Status.EXITED)
    assert device.statuses()["web"] is Status.EXITED
    async with device.running():
        await device.until(lambda: device.statuses() == ALL_RUNNING)
        await device.until(lambda: device.operations.wishes == {})

    assert device.ids() == before


async def test_what_had_done_its_work_runs_again_when_it_is_started(device):
    device.engine.world._behaviours = {"job:1": Behaviour(ends_after_s=0.0, exit_code=0)}
    once = service("job", image="job:1", restart=Restart.NO)
    async with device.running(Target((shop(once),))):
        await device.until(lambda: device.statuses() == {"job": Status.EXITED})
        await device.settled()
        first = device.started()["job"]
        assert (await device.operations.service(Verb.START, "job", wait_s=WAIT_S)).done
        await device.until(lambda: device.started()["job"] > first)


async def test_a_purge_removes_the_volumes_of_the_app_and_of_no_other(device):
    data = frozenset({Mount("data", "/data")})
    target = Target(
        (
            shop(service("web", mounts=data)),
            shop(service("farm", app_id="2", mounts=data), app_id="2", name="farm"),
        )
    )
    async with device.running(target):
        await device.until(lambda: len(device.statuses()) == 2)
        await device.settled()
        before = dict(device.engine.world.volumes)
        outcome = await device.operations.purge("shop", wait_s=WAIT_S)
        after = dict(device.engine.world.volumes)
        with pytest.raises(AppUnknown):
            await device.operations.purge("nobody")

    assert outcome.done
    assert after[Named("1", "data")] > before[Named("1", "data")]
    assert after[Named("2", "data")] == before[Named("2", "data")]
    assert device.statuses() == {"web": Status.RUNNING, "farm": Status.RUNNING}


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.PAUSE, Verb.RESTART])
async def test_an_app_that_holds_its_lock_is_left_alone_unless_forced(device, verb):
    async with device.running():
        await device.settled()
        lock = device.locks.folder("1") / "updates.lock"
        lock.touch()
        with pytest.raises(LockHeld):
            await device.operations.service(verb, "web", wait_s=WAIT_S)
        with pytest.raises(LockHeld):
            await device.operations.purge("shop", wait_s=WAIT_S)
        assert device.operations.wishes == {}
        assert device.statuses() == ALL_RUNNING
        assert (await device.operations.service(verb, "web", force=True, wait_s=WAIT_S)).done
        await device.until(lambda: not lock.exists())


async def test_what_cannot_be_done_now_is_told_with_its_reason(device):
    device.engine.world._behaviours = {"none:1": Behaviour(missing=True)}
    idle = service("web", image="none:1", state=ServiceState.STOPPED)
    async with device.running(Target((shop(idle),))):
        outcome = await device.operations.service(Verb.START, "web", wait_s=WAIT_S)

    assert not outcome.done
    assert any("no registry has none:1" in reason for reason in outcome.waiting)
    assert outcome.took_s < WAIT_S
    assert outcome.services[0].status == "missing"


async def test_a_disk_that_takes_no_writes_refuses_and_changes_nothing(device, monkeypatch):
    async def refuse(_name, _value):
        raise StoreUnavailable("the disk is full")

    async with device.running():
        await device.settled()
        monkeypatch.setattr(device.store.metadata, "put", refuse)
        with pytest.raises(StoreUnavailable):
            await device.operations.service(Verb.STOP, "web", wait_s=WAIT_S)
        assert device.operations.wishes == {}
        assert device.statuses() == ALL_RUNNING


async def test_what_is_not_there_or_there_twice_is_told(device):
    twice = Target((shop(), shop(service("web", app_id="2"), app_id="2", name="farm")))
    async with device.running(twice):
        with pytest.raises(ServiceUnknown) as unknown:
            await device.operations.service(Verb.STOP, "nothing")
        with pytest.raises(NameAmbiguous):
            await device.operations.service(Verb.STOP, "web")
        with pytest.raises(AppUnknown):
            await device.operations.app(Verb.STOP, "nothing")
        await device.operations.service(Verb.STOP, "web", app="farm")

    assert "db (1db)" in str(unknown.value.hint)
    assert set(device.operations.wishes) == {ServiceKey("2", "2web")}


async def test_many_who_ask_at_once_end_in_what_was_asked_last(device):
    async with device.running():
        await device.settled()
        verbs = [Verb.STOP, Verb.RESTART, Verb.PAUSE, Verb.START] * 5
        await asyncio.gather(*(device.operations.app(verb, "shop") for verb in verbs))
        await device.until(lambda: device.statuses() == ALL_RUNNING and device.loop.standing.settled_at)

    assert device.operations.wishes == {}
    assert len(device.engine.world.containers) == 3


async def test_a_purge_takes_volumes_that_a_clock_ahead_of_its_time_has_dated(device):
    target = Target((shop(service("web", mounts=frozenset({Mount("data", "/data")}))),))
    next_year = time.time() + 365 * 86_400
    async with device.running(target):
        await device.until(lambda: device.statuses() == {"web": Status.RUNNING})
        await device.settled()
        device.engine.world.volumes[Named("1", "data")] = next_year
        device.loop.look()
        await device.until(lambda: next_year in device.loop.standing.current.volumes.values())
        outcome = await device.operations.purge("shop", wait_s=WAIT_S)

        assert outcome.done
        assert device.engine.world.volumes[Named("1", "data")] < next_year
