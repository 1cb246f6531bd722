"""What an agent takes with it when it leaves a cloud, goes to another, or is reset and ends in the middle."""

import asyncio
import contextlib
import time

import pytest
from agent_broker import until
from double_provisioning import PROVISIONING_KEY, ProvisioningDouble
from tests.integration.agent.cloud_double import CloudDouble

from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.entrypoints.agent import assembly
from iotistic.entrypoints.agent.faces import DeviceProvisioning
from iotistic.entrypoints.agent.opening import open_process
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.kernel.process import pick_port
from iotistic.kernel.settings import load_settings

WEB = {"serviceId": 3, "serviceName": "web", "imageName": "web:1", "config": {"volumes": ["data:/data"]}}


class SlowEngine(SimulatedEngine):
    """An engine whose containers outlive agents, and take their time to end when told to."""

    slow = False

    async def stop(self, container_id, within_s):
        while self.slow:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await super().stop(container_id, within_s)


@pytest.fixture
def engine(monkeypatch):
    made = SlowEngine(time.time)
    monkeypatch.setattr(assembly, "choose_engine", lambda *_: made)
    return made


@contextlib.asynccontextmanager
async def cloud():
    provisioning = ProvisioningDouble()
    double = CloudDouble((provisioning.add,))

    def changing(route, answer):
        if route == "register":
            double.uuid = answer["device"]["uuid"]
            answer = {name: value for name, value in answer.items() if name != "mqtt"}
        return answer

    provisioning.changing = changing
    double.accepts = lambda key: any(key in one.api_keys for one in provisioning.devices.values())
    async with double.running():
        yield double


@contextlib.asynccontextmanager
async def agent(folder):
    settings = load_settings(
        AgentProcessSettings, device_api_port=pick_port(0), poll_interval_ms=1000, report_interval_ms=1000
    )
    async with open_process(settings, folder, follows_cloud=True) as process:
        running = asyncio.create_task(process.run())
        try:
            yield process
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def request(double):
    return ProvisioningRequest(PROVISIONING_KEY, double.url)


async def test_another_cloud_hears_nothing_of_the_marks_of_the_one_before(tmp_path, engine):
    async with cloud() as first, cloud() as second, agent(tmp_path) as process:
        first.deploy([WEB])
        first.state["version"] = 17
        here = DeviceProvisioning(process)
        await here.provision(request(first))
        await until(lambda: first.known.get("version") == 17)
        await here.deprovision()
        await here.provision(request(second))
        await until(lambda: second.known.get("apps") == {})

        assert "If-None-Match" not in next(one for one in second.requests if one.method == "GET").headers
        assert all(one.get("version", 0) < 17 for one in second.reports)


async def test_a_factory_reset_that_is_cut_short_goes_on_with_the_next_start(tmp_path, engine):
    async with cloud() as double:
        double.deploy([WEB])
        async with agent(tmp_path) as process:
            await DeviceProvisioning(process).provision(request(double))
            await until(lambda: engine.world.containers and engine.world.volumes)
            await until(lambda: process.agent.reconciler.standing.settled_at)
            engine.slow = True
            await DeviceProvisioning(process).factory_reset()
            await until(lambda: process.agent.reconciler.under_way)
        engine.slow = False
        assert engine.world.containers
        async with agent(tmp_path):
            await until(lambda: not engine.world.containers and not engine.world.volumes)


async def test_a_factory_reset_waits_for_no_lock(tmp_path, engine):
    """Nobody could force one any more: its app is none that the device knows."""
    async with cloud() as double, agent(tmp_path) as process:
        double.deploy([WEB])
        await DeviceProvisioning(process).provision(request(double))
        await until(lambda: engine.world.containers)
        await until(lambda: process.agent.reconciler.standing.settled_at)
        (process.agent.locks.folder("7") / "updates.lock").touch()
        await DeviceProvisioning(process).factory_reset()
        await until(lambda: not engine.world.containers and not engine.world.volumes)


async def test_one_who_gives_up_leaving_ends_no_talk(tmp_path, engine):
    async with cloud() as double, agent(tmp_path) as process:
        await DeviceProvisioning(process).provision(request(double))
        await until(lambda: double.known.get("version") == 1)
        leaving = asyncio.create_task(DeviceProvisioning(process).deprovision())
        await asyncio.sleep(0)  # it has asked for silence, and waits for it
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        double.deploy([WEB])
        await until(lambda: engine.world.containers)
