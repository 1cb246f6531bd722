"""What people on the device ask for, on a real Docker."""

import asyncio
import contextlib
import time

import pytest
from benchmarks.docker_device import Device, shop

from iotistic.agent.operations.operations import Operations, Verb
from iotistic.agent.operations.room import Room
from iotistic.agent.reconcile.locks import FileLocks
from iotistic.agent.store.store import Store
from iotistic.planning.model import Status

WAIT_S = 40.0


@pytest.fixture
async def device(docker, tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    async with Device(docker).running() as running:
        loop, record = running.loop, running.loop._record
        room = Room(loop, record, store.metadata, FileLocks(tmp_path / "locks"), store.record.save, time.time)
        running.operations = await Operations.open(room)
        running.operations.declare(shop())
        task = asyncio.create_task(running.operations.run())
        await running.until(lambda: all(running.runs(name) for name in ("web", "db", "watch")))
        yield running
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await store.close()


def ids(device):
    return {name: device.id_of(name) for name in ("web", "db", "watch")}


async def test_an_app_restarts_stops_and_starts_in_the_same_containers(device, docker):
    before = ids(device)
    started = docker.run("inspect", "--format", "{{.State.StartedAt}}", *before.values()).stdout.split()
    restarted = await device.operations.app(Verb.RESTART, "shop", wait_s=WAIT_S)
    again = docker.run("inspect", "--format", "{{.State.StartedAt}}", *before.values()).stdout.split()
    stopped = await device.operations.app(Verb.STOP, "shop", wait_s=WAIT_S)
    running = docker.run("ps", "--quiet").stdout.split()
    back = await device.operations.app(Verb.START, "shop", wait_s=WAIT_S)

    assert (restarted.done, stopped.done, back.done) == (True, True, True)
    assert all(early < late for early, late in zip(started, again, strict=True))
    assert running == []
    assert ids(device) == before
    assert all(one.status == Status.RUNNING for one in back.services)


async def test_a_service_is_paused_and_goes_on(device, docker):
    paused = await device.operations.service(Verb.PAUSE, "web", wait_s=WAIT_S)
    state = docker.run("inspect", "--format", "{{.State.Status}}", "shop_web_1").stdout.strip()
    resumed = await device.operations.service(Verb.START, "web", wait_s=WAIT_S)

    assert (paused.done, state, resumed.done) == (True, "paused", True)


async def test_a_purge_empties_the_volume(device, docker):
    await asyncio.to_thread(docker.run, "exec", "shop_db_2", "busybox", "touch", "/data/kept")
    before = ids(device)
    purged = await device.operations.purge("shop", wait_s=WAIT_S)
    listed = docker.run("exec", "shop_db_2", "busybox", "ls", "/data").stdout.split()

    assert purged.done
    assert "kept" not in listed
    assert not set(ids(device).values()) & set(before.values())
