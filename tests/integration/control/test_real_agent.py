"""The agent's process against the control plane: it becomes known, is deployed to, settles, reports, rotates, leaves."""

import asyncio
import contextlib
import json
import os
import sys

import pytest
from device_cloud import build, served

from iotistic.control.states.model import NoReport
from iotistic.kernel.process import pick_port

WEB = {"serviceId": 3, "serviceName": "web", "imageName": "web:1", "config": {}}
SHOP = {"apps": {"7": {"appId": 7, "appName": "shop", "services": [WEB]}}, "config": {}}
QUICK = {
    "POLL_INTERVAL_MS": "1000",
    "POLL_INTERVAL_ANNOUNCED_MS": "1000",
    "REPORT_INTERVAL_MS": "1000",
    "METRICS_INTERVAL_MS": "1000",
}


class AgentHost:
    """A device's folder, and the processes that run on it."""

    def __init__(self, folder, cloud, key):
        self.folder, self.cloud, self.key = folder, cloud, key
        self.port = pick_port(0)

    def environment(self):
        return {
            **os.environ,
            **QUICK,
            "CLOUD_API_ENDPOINT": self.cloud.url,
            "PROVISIONING_KEY": self.key,
            "DEVICE_NAME": "press 7",
            "DEVICE_API_PORT": str(self.port),
            "CONFIG_DIR": str(self.folder),
            "IOTISTIC_HOME": str(self.folder / "home"),
        }

    @contextlib.asynccontextmanager
    async def agent(self):
        with (self.folder / "log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iotistic", "agent", "run", "--engine", "simulated"),
                env=self.environment(),
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(20):
                await process.wait()
            print((self.folder / "log").read_text()[-5000:])  # noqa: T201  shown when the test fails

    async def iotctl(self, *arguments):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic.entrypoints.iotctl", *arguments, "--json"),
            env=self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await process.communicate()
        assert process.returncode == 0, complained.decode()
        return json.loads(said)

    async def device(self):
        """Return the uuid of the device once it is known and has proven its keys."""
        return await eventually(
            lambda: self.cloud.pool.fetchval(
                "SELECT device_uuid::text FROM device_registrations WHERE proven_at IS NOT NULL"
            )
        )

    async def deploy(self, uuid, content):
        await self.cloud.states.set_target(uuid, content, by="test")
        await self.cloud.states.deploy(uuid, by="test")

    async def settled(self, uuid, **wanted):
        await eventually(lambda: self._is_so(uuid, wanted))

    async def _is_so(self, uuid, wanted):
        with contextlib.suppress(NoReport):
            report = await self.cloud.states.current(uuid)
            apps = report.fields.get("apps") or {}
            services = [service for app in apps.values() for service in app["services"]]
            return {one["serviceName"]: one.get("serviceStatus") for one in services} == wanted


async def eventually(ask, *, within_s=60):
    async with asyncio.timeout(within_s):
        while not (value := await ask()):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.1)
    return value


@pytest.fixture
async def host(pool, tmp_path):
    # A key that is due at once: the agent has to rotate it as soon as it is known.
    async with served(build(pool, device_key_life_days=5)) as cloud:
        yield AgentHost(tmp_path, cloud, await cloud.key(max_uses=1))


async def test_the_real_agent_lives_its_life_with_this_cloud(host):
    cloud = host.cloud
    async with host.agent():
        uuid = await host.device()
        await host.deploy(uuid, SHOP)
        await host.settled(uuid, web="running")
        await eventually(lambda: cloud.count("device_api_keys WHERE origin = 'rotation'"))
        stopped = {**SHOP, "apps": {"7": {**SHOP["apps"]["7"], "services": [{**WEB, "state": "stopped"}]}}}
        await host.deploy(uuid, stopped)
        await host.settled(uuid, web="stopped")
        report = await cloud.states.current(uuid)
        key = (await cloud.keys.list())[0]
        device = await cloud.devices.device(uuid)
        await host.iotctl("deprovision")
        left = await cloud.count("fleet_devices")

    assert report.fields["version"] == 3
    assert report.fields["agent_version"]
    assert (device.name, device.fleet_id, key.current_uses) == ("press 7", "hall-1", 1)
    assert await cloud.count("provisioning_attempts WHERE outcome NOT IN ('registered', 'ok')") == 0
    assert left == 0


async def test_an_agent_that_was_killed_comes_back_as_the_same_device(host):
    async with host.agent() as process:
        uuid = await host.device()
        process.kill()
    await host.deploy(uuid, SHOP)
    async with host.agent():
        await host.settled(uuid, web="running")

    assert await host.cloud.count("fleet_devices") == 1
