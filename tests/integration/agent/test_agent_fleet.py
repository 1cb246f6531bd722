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
from aiohttp import web
from tests.integration.agent.double_provisioning import PROVISIONING_KEY, ProvisioningDouble, Right

from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.fleet import Doing, Fleet, FleetPlan
from iotistic.entrypoints.agent.fleet_cloud import FleetCloud
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


class FleetDouble(ProvisioningDouble):
    """A cloud that has one target for all devices that it knows."""

    @contextlib.asynccontextmanager
    async def running(self):
        self.reports, self.version = {}, 1
        app = web.Application()
        self.add(app)
        app.router.add_get("/api/v1/device/{uuid}/state", self._target)
        app.router.add_patch("/api/v1/device/state", self._report)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    async def _target(self, request):
        known = self.devices[request.match_info["uuid"]]
        assert request.headers["X-Device-API-Key"] in known.api_keys
        if request.headers.get("If-None-Match") == str(self.version):
            return web.Response(status=304)
        state = {**TARGET, "version": self.version}
        return web.json_response({request.match_info["uuid"]: state}, headers={"ETag": str(self.version)})

    async def _report(self, request):
        for uuid, fields in (await request.json()).items():
            self.reports.setdefault(uuid, {}).update(fields)
        return web.json_response({})


async def test_agents_become_known_to_a_cloud_run_what_it_wants_and_tell_so(tmp_path):
    double = FleetDouble(device_limit=10, rights={PROVISIONING_KEY: Right(max_uses=10)})
    async with double.running() as url:
        request = ProvisioningRequest(PROVISIONING_KEY, url).checked()
        cloud = FleetCloud(request, poll_every_s=0.5)
        async with running(plan(tmp_path, count=8, cloud=cloud)) as fleet:
            await until(lambda: fleet.look().all_settled_s is not None)
            await until(
                lambda: (
                    len(double.reports) == 8
                    and all(
                        [one["state"] for one in report.get("apps", {}).get("7", {}).get("services", [])]
                        == ["running", "running"]
                        for report in double.reports.values()
                    )
                )
            )

    assert sorted(one.name for one in double.devices.values()) == [f"simulated-{n:05}" for n in range(8)]


async def test_agents_that_a_cloud_refuses_say_so(tmp_path):
    double = FleetDouble(rights={})
    async with double.running() as url:
        cloud = FleetCloud(ProvisioningRequest(PROVISIONING_KEY, url).checked())
        async with running(plan(tmp_path, count=3, cloud=cloud)) as fleet:
            await until(lambda: fleet.look().doing == {Doing.REFUSED: 3})

    assert fleet.tally.all_settled_s is None


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
