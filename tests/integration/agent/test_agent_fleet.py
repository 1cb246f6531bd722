"""Many agents in one process, as `iotistic simulate agents` runs them; and that process killed."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.fleet import Doing, Fleet, FleetPlan
from iotistic.planning.target import read_target

WITHIN_S = 60.0
SERVICES = [
    {
        "serviceId": 1,
        "serviceName": "web",
        "config": {"image": "web:1", "networks": ["back"], "volumes": ["data:/data"]},
    },
    {"serviceId": 2, "serviceName": "worker", "config": {"image": "worker:1", "networks": ["back"]}},
]
TARGET = {"apps": {"7": {"appName": "shop", "services": SERVICES}}}


@contextlib.asynccontextmanager
async def running(plan):
    fleet, stop = Fleet(plan), asyncio.Event()
    task = asyncio.create_task(fleet.run(stop))
    try:
        yield fleet
    finally:
        stop.set()
        await task


async def until(met):
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)


def plan(folder, **more):
    return FleetPlan(more.pop("count", 20), read_target(TARGET).target, folder, **more)


def start(folder, *words):
    """Start the command as a process that is told of by its standard error."""
    target = folder / "target.json"
    target.write_text(json.dumps(TARGET))
    command = [sys.executable, "-m", "iotistic", "simulate", "agents", "--count", "50", "--json"]
    command += ["--target", target, "--data", folder / "agents", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def identities(folder):
    found = []
    for number in range(50):
        store = await Store.open(folder / "agents" / f"agent-{number:05}" / "agent.sqlite")
        found.append((await store.device.load()).uuid)
        await store.close()
    return found


async def test_all_agents_settle_each_on_containers_of_its_own(tmp_path):
    async with running(plan(tmp_path)) as fleet:
        await until(lambda: fleet.look().all_settled_s is not None)

        assert fleet.tally.doing == {Doing.SETTLED: 20}
        assert all(len(member.engine.world.containers) == 2 for member in fleet.members)


async def test_with_chaos_all_are_settled_again_and_again(tmp_path):
    async with running(plan(tmp_path, count=10, chaos=0.05, seed=3)) as fleet:
        await until(lambda: fleet.look().all_settled_s is not None)
        victim = fleet.members[4]
        fallen = await victim.crash(random.Random(1))
        at_once = victim.doing
        await until(lambda: victim.doing is Doing.SETTLED)

        assert fallen
        assert at_once is not Doing.STARTING
        assert len(victim.engine.world.containers) == 2


@pytest.mark.parametrize("line", ["starting", "all 50 settled"], ids=["while starting", "when settled"])
async def test_a_fleet_whose_process_is_killed_goes_on_where_it_was(tmp_path, line):
    first = start(tmp_path)
    await asyncio.to_thread(lambda: next(said for said in first.stderr if line in said))
    os.kill(first.pid, signal.SIGKILL)
    await asyncio.to_thread(first.communicate)
    before = await identities(tmp_path)
    second = start(tmp_path, "--once", "--duration", str(WITHIN_S))
    told, _ = await asyncio.to_thread(second.communicate, timeout=2 * WITHIN_S)

    assert second.returncode == 0
    assert json.loads(told)["settled"] == 50
    assert await identities(tmp_path) == before
    assert len(set(before)) == 50
    assert not list(tmp_path.rglob("*.corrupt-*"))


async def test_a_fleet_that_is_interrupted_says_how_it_stands_and_leaves_nothing_open(tmp_path):
    process = start(tmp_path)
    await asyncio.to_thread(lambda: next(said for said in process.stderr if "all 50 settled" in said))
    process.send_signal(signal.SIGINT)
    told, said = await asyncio.to_thread(process.communicate, timeout=WITHIN_S)

    assert process.returncode == 0
    assert json.loads(told)["settled"] == 50
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.sqlite-wal"))
