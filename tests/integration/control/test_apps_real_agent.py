"""The agent's process does what is asked of one service; `iotistic deploy` watches it."""

import asyncio
import contextlib
import json
import os
import sys

import pytest
from target_desk import served
from test_real_agent import AgentHost, eventually

from iotistic.control.states.model import NoReport

SERVICES = [{"serviceName": "web", "image": "web:1"}, {"serviceName": "db", "image": "db:1"}]


class Host(AgentHost):
    async def containers(self, uuid):
        """Return each service's container and what is said of it."""
        with contextlib.suppress(NoReport):
            report = await self.cloud.states.current(uuid)
            apps = report.fields.get("apps") or {}
            services = [service for app in apps.values() for service in app["services"]]
            return {
                one["serviceName"]: (one.get("serviceStatus"), one.get("containerId")) for one in services
            }
        return {}

    async def so(self, uuid, **wanted):
        """Return the containers once every service is said to be so."""

        async def is_so():
            found = await self.containers(uuid)
            return [found] if {name: status for name, (status, _) in found.items()} == wanted else None

        (found,) = await eventually(is_so)
        return found

    async def remade(self, uuid, name, before):
        """Return the containers once the service runs in another one."""

        async def is_so():
            found = await self.containers(uuid)
            status, container = found.get(name, (None, None))
            return found if status == "running" and container != before else None

        return await eventually(is_so)


@pytest.fixture
async def desk(pool):
    async with served(pool) as desk:
        yield desk


@pytest.fixture
async def host(desk, tmp_path):
    return Host(tmp_path, desk.cloud, await desk.cloud.key(max_uses=1))


async def test_the_real_agent_stops_starts_and_restarts_one_service(desk, host):
    async with host.agent():
        uuid = await host.device()
        apps = f"/devices/{uuid}/apps"
        await desk.ask("POST", apps, {"appId": 7, "services": SERVICES}, deploy=True)
        first = await host.so(uuid, web="running", db="running")
        await desk.ask("POST", f"{apps}/7/services/web/stop", deploy=True)
        stopped = await host.so(uuid, web="stopped", db="running")
        await desk.ask("POST", f"{apps}/7/services/web/start", deploy=True)
        started = await host.so(uuid, web="running", db="running")
        await desk.ask("POST", f"{apps}/7/services/web/restart", deploy=True)
        restarted = await host.remade(uuid, "web", started["web"][1])
        await desk.ask("DELETE", f"{apps}/7", deploy=True)
        await host.so(uuid)

    # What was stopped is started again as it is; a restart makes it anew; the other one is left alone all the time.
    assert stopped["web"][1] == started["web"][1] == first["web"][1]
    assert restarted["web"][1] != first["web"][1]
    assert {one["db"] for one in (first, stopped, started, restarted)} == {first["db"]}


@pytest.fixture
def run(desk, tmp_path):
    """Run a command as a process against the cloud."""
    base = desk.cloud.url.removesuffix("/api/v1")
    environment = os.environ | {
        "IOTISTIC_API_URL": base,
        "IOTISTIC_API_TOKEN": "owner",
        "IOTISTIC_HOME": str(tmp_path),
    }

    async def run(*words):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic", *words),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


def written(tmp_path, image, name="target.json", **more):
    service = {"serviceId": 3, "serviceName": "web", "config": {"image": image}}
    target = {"apps": {"7": {"appId": 7, "appName": "shop", "services": [service]}}, "config": {}, **more}
    path = tmp_path / name
    path.write_text(json.dumps(target))  # JSON is YAML too
    return str(path)


async def test_deploy_waits_until_the_device_is_as_wanted(desk, host, run, tmp_path):
    async with host.agent():
        uuid = await host.device()
        done = await run("deploy", "press 7", written(tmp_path, "web:1"), "--wait", "--timeout", "60")
        again = await run("deploy", uuid, written(tmp_path, "web:2", "t.yaml"), "--wait", "--json")
        shown = await run("target", "show", "press 7")
        as_json = await run("target", "show", uuid, "--json")

    assert (done[0], "version 2 runs" in done[1], "1 of 1 services" in done[2]) == (0, True, True), done
    assert (again[0], json.loads(again[1])["is_settled"]) == (0, True), again
    assert (shown[0], "web:2" in shown[1]) == (0, True)
    assert json.loads(as_json[1])["version"] == 3


async def test_deploy_says_what_stands_in_the_way(desk, run, tmp_path):
    device = await desk.device()
    late = await run("deploy", device.uuid, written(tmp_path, "web:1"), "--wait", "--timeout", "1")
    stale = await run("deploy", device.uuid, written(tmp_path, "web:2"), "--expected-version", "1")
    shown = json.loads((await run("target", "show", device.uuid, "--json"))[1])

    assert late[0] == 1, late
    assert "[" in late[1]
    assert "Fix: " in late[1]
    assert (stale[0], "version 2 is in force" in stale[2]) == (5, True)
    assert shown["draft"] is None


async def test_what_cannot_be_deployed_is_named_and_nothing_is_sent(desk, run, tmp_path):
    device = await desk.device()
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "no.yaml").write_text("a: [2020-01-01, *x")
    codes = [
        (await run("deploy", device.uuid, str(tmp_path / name)))[0]
        for name in ("no.json", "list.json", "no.yaml", "missing.json")
    ]
    fault = await run("deploy", device.uuid, written(tmp_path, "NO IMAGE"))
    unknown = await run("deploy", "no such device", written(tmp_path, "web:1"))
    extra = await run("deploy", device.uuid, written(tmp_path, "web:1", unknown=1))
    shown = json.loads((await run("target", "show", device.uuid, "--json"))[1])

    assert codes == [2, 2, 2, 2]
    assert (fault[0], "apps.7.services[0].config.image" in fault[2]) == (2, True)
    assert (unknown[0], extra[0]) == (4, 2)
    assert (shown["version"], shown["draft"]) == (1, None)
