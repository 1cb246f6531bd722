"""An agent with its device API on a simulated engine: real loop, store, locks and sockets."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.jobs.model import JobExecution
from iotistic.agent.local_api.access import Policy
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.local_api.server import DeviceApi
from iotistic.agent.local_config.config import LocalConfig
from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType
from iotistic.agent.logs.hub import LogHub
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.operations.operations import Operations
from iotistic.agent.operations.room import Room
from iotistic.agent.provisioning.model import Farewell, ProvisioningState, ProvisioningStatus
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.locks import FileLocks
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.scenarios.model import Simulation
from iotistic.agent.scenarios.scenarios import Scenarios
from iotistic.agent.store.store import Store
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import Conflict
from iotistic.planning.target import read_target

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
WITHIN_S = 10.0


JOB = JobExecution("j1", 1, "greet", JobStatus.SUCCEEDED, "", 1.0, 2.0, 3.5, "", 2, "", 0, 1, None)


class AlreadyIn(Conflict):
    """The device is in a fleet already."""

    code = "provisioning.already_provisioned"


class FleetDouble:
    """Provisioning without a cloud: only what is asked of it is kept."""

    def __init__(self, store):
        self.store, self.request, self.provisioned = store, None, False

    def status(self):
        asked = self.request
        return ProvisioningStatus(
            provisioned=self.provisioned,
            uuid=UUID,
            device_id="17" if self.provisioned else "",
            device_name=asked.device_name if asked else "",
            api_endpoint=asked.api_endpoint if asked else "",
            has_provisioning_key=False,
            mqtt_configured=self.provisioned,
            state=ProvisioningState.PROVISIONED if self.provisioned else ProvisioningState.NEW,
        )

    async def provision(self, request):
        if self.provisioned:
            raise AlreadyIn
        self.request, self.provisioned = request, True
        return self.status()

    async def deprovision(self):
        self.provisioned = False
        await self.store.device.deprovision()
        return Farewell(is_cloud_told=True)

    async def factory_reset(self):
        self.request, self.provisioned = None, False
        await self.store.factory_reset()
        return Farewell(is_cloud_told=False, reason="the cloud does not answer")


class HostDouble:
    def __init__(self, end=None):
        self.asked, self._end = [], end

    async def reboot(self):
        self.asked.append("reboot")

    async def shutdown(self):
        self.asked.append("shutdown")

    async def restart_agent(self):
        self.asked.append("restart")
        if self._end is not None:
            asyncio.get_running_loop().call_later(0.2, self._end)


class AnomaliesDouble:
    async def test(self, document):
        return {"status": "ok", "asked": dict(document)}


async def publish(_sensor, _readings):
    pass


def shop_document(*, image="web:1", state="running"):
    return {
        "apps": {
            "7": {
                "appId": 7,
                "appName": "shop",
                "services": [
                    {
                        "serviceId": 1,
                        "serviceName": "web",
                        "state": state,
                        "config": {"image": image, "volumes": ["data:/data"]},
                    },
                    {"serviceId": 2, "serviceName": "db", "config": {"image": "db:1"}},
                    {"serviceId": 3, "serviceName": "cache", "config": {"image": "cache:1"}},
                ],
            }
        }
    }


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any


class DeviceRig:
    """`folder` keeps what the agent keeps."""

    def __init__(self, folder, engine=None, policy=None, port=0, document=None, end=None, **api):
        self.folder, self.engine = folder, engine or SimulatedEngine(time.time)
        self.policy, self.port, self.api_options = policy or Policy(), port, api
        self.document = shop_document() if document is None else document
        self.locks, self.host = FileLocks(folder / "locks"), HostDouble(end)

    @contextlib.asynccontextmanager
    async def running(self):
        self.store = store = await Store.open(self.folder / "agent.sqlite")
        await self._assemble(store)
        self.operations.declare(read_target(self.document).target)
        tasks = [asyncio.create_task(one.run()) for one in (self.loop, self.operations, self.api)]
        try:
            async with asyncio.timeout(WITHIN_S):
                await self.api.listening.wait()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await store.close()

    async def _assemble(self, store):
        self.record = await store.record.load()
        self.record.held = await self.locks.regain(self.record.held)
        around = Surroundings(time.time, locked=self.locks.locked, save=store.record.save)
        self.loop = Reconciler(
            self.engine, Executor(self.engine, self.locks), self.record, around, look_every_s=0.2
        )
        room = Room(self.loop, self.record, store.metadata, self.locks, store.record.save)
        self.operations = await Operations.open(room)
        self.config = await LocalConfig.open(store.metadata, {"POLL_INTERVAL_MS": 5000})
        self.config.listen("LOG_LEVEL", self._log_level)
        self.logs, self.fleet = LogHub(time.time), FleetDouble(store)
        options = {"again_s": 0.1, **self.api_options}
        self.api = await DeviceApi.open(
            self._parts(), store.device, self.folder, self.policy, self.port, **options
        )
        self.key = self.api.key

    def _parts(self):
        simulation = Scenarios(Simulation(enabled=True), UUID, publish=publish, clock=time.time)
        return Parts(
            operations=self.operations,
            loop=self.loop,
            facts=lambda: self.record.facts(
                time.time(), locked=self.locks.locked(), disk_is_full=False, shares_ports=False
            ),
            config=self.config,
            version="1.2.3",
            engine=self.engine.name,
            provisioning=self.fleet,
            logs=self.logs,
            simulation=simulation,
            anomalies=AnomaliesDouble(),
            host=self.host,
            machine=Observer(self.folder).look,
            jobs=lambda: [JOB],
            diagnoses={"cloud": lambda: {"status": "online", "failures": 0}},
        )

    async def _log_level(self, value):
        self.log_level = value

    @property
    def url(self):
        return f"http://127.0.0.1:{self.api.addresses[0][1]}"

    def say(self, text, service="web", service_id="1"):
        number = sum(1 for _ in self.logs.recent(10_000))
        self.logs.add(
            LogEntry(
                f"line-{number}",
                text,
                round(time.time() * 1000),
                Level.INFO,
                Source(SourceType.CONTAINER, service),
                service_id=service_id,
                service_name=service,
            )
        )

    async def ask(self, method, path, body=None, **options):
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, **options) as response,
        ):
            text = await response.text()
            is_json = "json" in response.content_type
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def until(self, met):
        async with asyncio.timeout(WITHIN_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)

    async def settled(self):
        await self.until(
            lambda: self.operations._keeper.has_looked and self.loop.standing.settled_at is not None
        )

    def statuses(self):
        return {one.name: str(one.status) for one in self.engine.world.containers.values()}

    def ids(self):
        return {one.name: one.id for one in self.engine.world.containers.values()}
