"""The jobs of a control plane, served over HTTP on a real PostgreSQL; people, and devices without an agent."""

import contextlib
import json
import uuid as uuids
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx2
from described_answers import answers_as_described

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ROLE_PERMISSIONS, ApiKeyPrincipal, Role
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.audit.port import NO_TRAIL
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.jobs.catalogue import Catalogue
from iotistic.control.jobs.catalogue_routes import handler_router, template_router
from iotistic.control.jobs.delivery import DeviceJobs
from iotistic.control.jobs.device_routes import device_job_router
from iotistic.control.jobs.keeper import JobKeeper
from iotistic.control.jobs.messages import Announcer, JobUpdates
from iotistic.control.jobs.routes import job_router
from iotistic.control.jobs.schedule_routes import schedule_router
from iotistic.control.jobs.service import JobService
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

BASE = "/api/v1"


def document(*words, **changes):
    step = {"name": "run", "type": "runCommand", "input": {"command": ",".join(words or ("echo", "hello"))}}
    return {"version": "1.0", "steps": [step], "includeStdOut": True, **changes}


def order(**changes):
    return {"job_name": "greet", "job_document": document(), "target_type": "all", **changes}


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self, now=None):
        self.now = now or datetime.now(UTC).replace(microsecond=0)

    def __call__(self):
        return self.now

    def forward(self, **by):
        self.now += timedelta(**by)


class Roles:
    """People: whose token is the name of a role has that role."""

    async def find(self, token):
        if token not in [role.value for role in Role]:
            return None
        return ApiKeyPrincipal(key_id=token, user_id=UUID(int=1), permissions=ROLE_PERMISSIONS[Role(token)])


@dataclass
class Said:
    """A broker that remembers, or is away."""

    messages: list = field(default_factory=list)
    is_away: bool = False

    async def publish(self, topic, payload, *, expiry_s=None):
        if self.is_away:
            raise Unavailable("no broker")
        self.messages.append((topic, json.loads(payload)))

    def take(self):
        taken, self.messages = self.messages, []
        return taken


class JobCloud:
    """What runs, and its services."""

    def __init__(self, pool, clock=None, *, allowance=None, trail=NO_TRAIL, **settings):
        self.pool, self.clock, self.broker = pool, clock or HandClock(), Said()
        self.settings = JobDeskSettings(**settings)
        self.devices = DeviceService(pool, DeviceKeySettings(), clock=self.clock)
        self.jobs = JobService(pool, self.settings, clock=self.clock, allowance=allowance, trail=trail)
        self.reports = DeviceJobs(pool, self.settings, clock=self.clock)
        self.updates = JobUpdates(self.reports, self.broker, clock=self.clock)
        self.keeper = self.another_keeper()
        self.app = create_app(
            title="jobs", version="0", description="under test", body_limit=10 * 1024 * 1024
        )
        attempts = FailedAttempts(limit=100_000)
        sources = {"callers": Roles(), "devices": FleetDeviceSource(self.devices)}
        install_gate(self.app, Gate(addresses=ClientAddresses(), attempts=attempts, **sources))
        catalogue = Catalogue(pool, clock=self.clock, trail=trail)
        for router in (
            template_router(catalogue),
            handler_router(catalogue),
            schedule_router(self.jobs),
            job_router(self.jobs),
            device_job_router(self.reports),
        ):
            self.app.include_router(router, prefix=BASE)
        self.url, self.client = "", None

    def another_keeper(self):
        announcer = Announcer(self.pool, self.broker, clock=self.clock)
        return JobKeeper(self.pool, self.settings, self.jobs.schedules, clock=self.clock, announcer=announcer)

    async def ask(self, method, path, body=None, *, role="owner"):
        headers = {"Authorization": f"Bearer {role}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def execute(self, **changes):
        answer = await self.ask("POST", "/jobs/execute", order(**changes))
        assert answer.status_code == 201, answer.text
        return answer.json()["job"]

    async def job(self, job):
        answer = await self.ask("GET", f"/jobs/executions/{job['job_id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self, job):
        return (await self.job(job))["job"]["status"]

    async def tick(self, **by):
        """Let time pass, and the keeper look at everything once."""
        self.clock.forward(**by)
        await self.keeper.start()
        await self.keeper.schedule()
        await self.keeper.join()
        await self.keeper.expire()
        await self.keeper.settle()
        await self.keeper.tell()

    async def device(self, **columns):
        device = JobDevice(self, columns.pop("uuid", None) or uuids.uuid4())
        values = {
            "name": "press 7",
            "type": "gateway",
            "fleet_id": "hall-1",
            "agent_version": "1.0.0",
            **columns,
        }
        await self.pool.execute(
            "INSERT INTO fleet_devices (uuid, name, type, fleet_id, agent_version, is_active) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            device.uuid,
            values["name"],
            values["type"],
            values["fleet_id"],
            values["agent_version"],
            values.get("is_active", True),
        )
        await self.devices.register_key(self.pool, str(device.uuid), device.key)
        return device


@dataclass
class JobDevice:
    """A device that says what a test has it say."""

    cloud: JobCloud
    uuid: UUID = field(default_factory=uuids.uuid4)
    key: str = field(default_factory=make_api_key)

    @property
    def headers(self):
        return {"X-Device-API-Key": self.key}

    async def poll(self):
        return await self.cloud.client.get(f"/devices/{self.uuid}/jobs/next", headers=self.headers)

    async def next(self):
        answer = await self.poll()
        return answer.json() if answer.status_code == 200 else None

    async def report(self, job, status, *, number=None, headers=None, **fields):
        details = {} if number is None else {"status_details": {"execution_number": number}}
        return await self.cloud.client.patch(
            f"/devices/{self.uuid}/jobs/{job['job_id']}/status",
            json={"status": status, **details, **fields},
            headers=headers or self.headers,
        )

    async def told(self, job, status, **fields):
        answer = await self.report(job, status, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["status"]

    async def part(self, job):
        answer = await self.cloud.ask("GET", f"/jobs/executions/{job['job_id']}/devices/{self.uuid}")
        assert answer.status_code == 200, answer.text
        return answer.json()["device_status"]


@contextlib.asynccontextmanager
async def served(cloud):
    async with await serve(cloud.app, host="127.0.0.1", port=0) as server:
        cloud.url = f"http://127.0.0.1:{server.port}{BASE}"
        hooks = {"response": [answers_as_described(cloud.app)]}
        async with httpx2.AsyncClient(
            verify=False, base_url=cloud.url, timeout=30, event_hooks=hooks
        ) as client:
            cloud.client = client
            yield cloud
