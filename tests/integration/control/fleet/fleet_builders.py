"""A cloud with everything about devices, served over HTTP on a real PostgreSQL; people of each role."""

import contextlib
import re
import uuid as uuids
from dataclasses import dataclass, field
from datetime import timedelta

import httpx2

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ROLE_PERMISSIONS, ApiKeyPrincipal, Role
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.devicelogs.following import Bell, Followers
from iotistic.control.devicelogs.routes import logs_router, upload_router
from iotistic.control.devicelogs.service import DeviceLogs
from iotistic.control.devicelogs.settings import DeviceLogSettings
from iotistic.control.devicemetrics.recorder import MetricsRecorder
from iotistic.control.devicemetrics.routes import metrics_router
from iotistic.control.devices import repository as device_rows
from iotistic.control.devices.fleet_routes import fleet_router
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.lifecycle import Lifecycle
from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.routes import device_key_router
from iotistic.control.devices.service import DeviceKeySettings, DeviceService, utc_now
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.devices.witness import DeviceWitness
from iotistic.control.history.keeper import HistoryKeeper
from iotistic.control.history.settings import HistorySettings
from iotistic.control.presence.attendance import PresenceAttendance
from iotistic.control.presence.routes import presence_router
from iotistic.control.presence.service import Presence
from iotistic.control.presence.settings import PresenceSettings
from iotistic.control.states.routes import device_state_router
from iotistic.control.states.service import StateService
from iotistic.control.tags.routes import tag_router
from iotistic.control.tags.service import TagService
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

BASE = "/api/v1"
PATIENT = {"presence_write_s": 0, "presence_outage_s": 120}
"""Settings of presence that count every sign, and a slow test run as no outage."""


class People:
    """Stands for accounts: an API key of each role, by the role's name."""

    async def find(self, token):
        if token not in set(Role):
            return None
        return ApiKeyPrincipal(key_id=token, user_id=uuids.uuid4(), permissions=ROLE_PERMISSIONS[Role(token)])


class Notes:
    """An audit trail, and a journal of presence, that remember."""

    def __init__(self):
        self.audited, self.transitions = [], []
        self.failing = False

    async def record(self, db, by, action, subject, **about):
        assert await db.fetchval("SELECT 1") == 1
        if self.failing:
            raise RuntimeError("the audit trail is full")
        self.audited.append((by.name, action, subject[1]))

    async def note(self, db, transitions):
        self.transitions += [(one.device_uuid, one.is_online, one.reason) for one in transitions]


@dataclass
class Fleet:
    """What runs."""

    pool: object
    devices: DeviceService
    presence: Presence
    states: StateService
    logs: DeviceLogs
    tags: TagService
    keeper: HistoryKeeper
    notes: Notes
    bell: Bell
    app: object
    url: str = ""
    client: httpx2.AsyncClient | None = None
    number: int = field(default=0)

    async def add(self, **changes) -> "Device":
        self.number += 1
        values = {
            "uuid": str(uuids.uuid4()),
            "name": f"press {self.number}",
            "type": "gateway",
            "fleet_id": "hall-1",
            "mac_address": f"02:00:00:00:{self.number >> 8:02x}:{self.number & 255:02x}",
            "agent_version": "1.0.0",
        }
        new = NewDevice(**(values | changes))
        device = Device(self, new.uuid)
        async with self.pool.acquire() as db, db.transaction():
            made = await device_rows.add(db, new, utc_now())
            await self.devices.register_key(db, new.uuid, device.api_key)
        device.number = made.number
        return device

    async def ask(self, method, path, *, role="owner", **more):
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        return await self.client.request(method, path, headers=headers | more.pop("headers", {}), **more)

    async def get(self, path, *, role="owner", **params):
        return await self.ask("GET", path, role=role, params=params)

    async def names(self, **params):
        answer = await self.get("/devices", **params)
        assert answer.status_code == 200, answer.text
        return [one["name"] for one in answer.json()["devices"]]

    async def pass_time(self, seconds, *, watched=True):
        """Let time pass: all that the database remembers moves into the past."""
        by = timedelta(seconds=seconds)
        await self.pool.execute(
            "UPDATE device_presence SET lease_until = lease_until - $1::interval, "
            "seen_at = seen_at - $1::interval, closed_at = closed_at - $1::interval",
            by,
        )
        if not watched:
            await self.pool.execute("UPDATE presence_watch SET alive_at = alive_at - $1::interval", by)

    async def is_online(self, *devices):
        rows = await self.pool.fetch("SELECT device_uuid::text, is_online FROM device_presence")
        found = dict(map(tuple, rows))
        return [found[device.uuid] for device in devices]


@dataclass
class Device:
    """A device with its key."""

    fleet: Fleet
    uuid: str
    api_key: str = field(default_factory=make_api_key)
    number: int = 0

    @property
    def headers(self):
        return {"X-Device-API-Key": self.api_key}

    async def report(self, **fields):
        return await self.fleet.client.patch("/device/state", json={self.uuid: fields}, headers=self.headers)

    async def poll(self):
        return await self.fleet.client.get(f"/device/{self.uuid}/state", headers=self.headers)

    async def send(self, content, **headers):
        named = {"Content-Type": "application/x-ndjson", **self.headers, **headers}
        return await self.fleet.client.post(f"/device/{self.uuid}/logs", content=content, headers=named)


def build(pool, **settings) -> Fleet:
    """Return a fleet that is not served yet; settings by their names."""

    def only(group):
        return group(**{name: value for name, value in settings.items() if name in group.model_fields})

    notes, bell = Notes(), Bell()
    devices = DeviceService(pool, DeviceKeySettings())
    presence = Presence(pool, only(PresenceSettings), journal=notes)
    attendance = PresenceAttendance(presence)
    states = StateService(pool, devices, witness=DeviceWitness(pool, attendance, MetricsRecorder(pool)))
    log_settings, history = only(DeviceLogSettings), only(HistorySettings)
    logs = DeviceLogs(pool, log_settings, history, bell=bell.ring)
    lifecycle = Lifecycle(pool, trail=notes, parting=presence)
    tags = TagService(pool, trail=notes)
    app = create_app(
        title="test",
        version="1",
        description="test",
        streamed_bodies=re.compile(rf"{BASE}/device/[^/]+/logs"),
    )
    gate = Gate(
        callers=People(),
        devices=FleetDeviceSource(devices),
        addresses=ClientAddresses(),
        attempts=FailedAttempts(limit=100_000),
    )
    install_gate(app, gate)
    followers = Followers(pool, bell, most=log_settings.device_log_followers)
    for router in (
        tag_router(tags),
        fleet_router(pool, lifecycle),
        presence_router(presence),
        metrics_router(pool),
        logs_router(logs, followers),
        upload_router(logs, devices, heard=attendance.logged),
        device_key_router(devices, lifecycle=lifecycle),
        device_state_router(states, devices),
    ):
        app.include_router(router, prefix=BASE)
    keeper = HistoryKeeper(pool, history)
    return Fleet(pool, devices, presence, states, logs, tags, keeper, notes, bell, app)


@contextlib.asynccontextmanager
async def served(fleet: Fleet):
    async with await serve(fleet.app, host="127.0.0.1", port=0) as server:
        fleet.url = f"http://127.0.0.1:{server.port}{BASE}"
        async with httpx2.AsyncClient(verify=False, base_url=fleet.url, timeout=60) as client:
            fleet.client = client
            yield fleet
