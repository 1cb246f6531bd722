"""Ways to bring a device into trouble: each leaves in the database what that trouble leaves there."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.states.service import StateService
from iotistic.control.why.port import About
from iotistic.control.why.records import DecisionRecords

WEB = {"serviceId": 1, "serviceName": "web", "imageName": "web:2", "config": {}}
KEY = "0123456789abcdef" * 4


def content(image="web:2"):
    return {
        "apps": {"7": {"appId": 7, "appName": "shop", "services": [WEB | {"imageName": image}]}},
        "config": {},
    }


@dataclass
class Patient:
    """A device that a test makes ill. It is healthy at first: proven, reporting, on its newest target."""

    pool: object
    uuid: str = field(default_factory=lambda: str(uuid4()))
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def ago(self, **by):
        return self.now - timedelta(**by)

    async def execute(self, statement, *arguments):
        await self.pool.execute(statement.replace("$DEVICE", "$1::text::uuid"), self.uuid, *arguments)

    async def born(self, *, version=2):
        await self.execute(
            "INSERT INTO fleet_devices (uuid, name, type, fleet_id, created_at) "
            "VALUES ($DEVICE, 'press ' || $1, 'gateway', 'hall-1', $2)",
            self.ago(days=30),
        )
        await self.execute(
            "INSERT INTO device_registrations (device_uuid, name, public_key, registered_at, proven_at) "
            "VALUES ($DEVICE, 'x', 'PEM', $2, $2)",
            self.ago(days=30),
        )
        await self.execute(
            "INSERT INTO device_certificates (serial, device_uuid, public_key, pem, issued_at, not_after) "
            "VALUES (replace($1, '-', ''), $DEVICE, '', '', $2, $3)",
            self.ago(days=30),
            self.ago(days=-300),
        )
        await self.devices().register_key(self.pool, self.uuid, KEY)
        states = StateService(self.pool, self.devices(), decisions=DecisionRecords())
        await states.begin(self.pool, self.uuid)
        for number in range(2, version + 1):
            await states.set_target(self.uuid, content(f"web:{number}"), by="user:ada")
            await states.deploy(self.uuid, by="user:ada")
        await self.execute(
            "UPDATE device_targets SET deployed_at = $2 WHERE device_uuid = $DEVICE", self.ago(hours=2)
        )
        await self.reports()
        return self

    def devices(self):
        return DeviceService(
            self.pool, DeviceKeySettings(device_rotations_per_hour=2), decisions=DecisionRecords()
        )

    def states(self):
        return StateService(self.pool, self.devices(), decisions=DecisionRecords())

    async def reports(self, *, minutes_ago=1.0, version=2, services=None, **fields):
        told = {
            "version": version,
            "apps": {"7": {"appId": 7, "services": services or [service()]}},
            "storage_usage": 10, "storage_total": 100, "memory_usage": 10, "memory_total": 100, "temperature": 50,
        } | fields  # fmt: skip
        await self.execute(
            "INSERT INTO device_states (device_uuid, fields, reported_at) VALUES ($DEVICE, $2::text::jsonb, $3) "
            "ON CONFLICT (device_uuid) DO UPDATE SET fields = EXCLUDED.fields, reported_at = EXCLUDED.reported_at",
            json.dumps(told),
            self.ago(minutes=minutes_ago),
        )

    async def silent(self, minutes=60.0, **fields):
        await self.reports(minutes_ago=minutes, **fields)

    async def decided(
        self, code, about=About.OFFLINE, *, minutes_ago=30.0, device=True, cause=None, source="", **facts
    ):
        records = DecisionRecords(clock=lambda: self.ago(minutes=minutes_ago))
        return await records.decided(
            self.pool,
            about,
            code,
            device=self.uuid if device else None,
            facts=facts,
            cause=cause,
            source=source,
        )

    async def attempted(self, outcome, *, minutes_ago=10.0):
        await self.execute(
            "INSERT INTO provisioning_attempts (at, route, address, device_uuid, outcome) "
            "VALUES ($2, 'register', '10.0.0.9', $DEVICE, $3)",
            self.ago(minutes=minutes_ago),
            outcome,
        )

    async def target_of_now(self):
        await self.execute("UPDATE device_targets SET deployed_at = $2 WHERE device_uuid = $DEVICE", self.now)


def service(*, image="web:2", status="running", **more):
    return {"serviceId": 1, "serviceName": "web", "imageName": image, "serviceStatus": status} | more


def failing(kind, message, *, image="web:1", count=3):
    return [
        service(image=image, status="error", error={"type": kind, "message": message, "retryCount": count})
    ]


def says(message, kind="ImagePullBackOff", **more):
    """Return a trouble of a service: the device reports it since the target was deployed."""

    async def inject(patient):
        await patient.reports(services=failing(kind, message, **more))

    return inject


def decision(code, about=About.OFFLINE, *, silent=None, **facts):
    """Return a decision that another room wrote down, while the device is silent or not."""

    async def inject(patient):
        if silent:
            await patient.silent(silent)
        await patient.decided(code, about, **facts)

    return inject


def refused(code, *, known=False, by_record=False):
    """Return a refusal at the doors, of a device that is known (and went silent) or not."""

    async def inject(patient):
        if known:
            await patient.silent()
        else:
            await patient.execute("DELETE FROM fleet_devices WHERE uuid = $DEVICE")
        if by_record:
            await patient.decided(code, minutes_ago=10, source="provisioning", limit=3)
        else:
            await patient.attempted("registered", minutes_ago=2000)
            await patient.attempted(code)

    return inject


def statement(sql, *, silent=60.0, **ago):
    """Return a change of a row; `ago` is the time that $2 stands for."""

    async def inject(patient):
        if silent:
            await patient.silent(silent)
        await patient.execute(sql, *([patient.ago(**ago)] if ago else []))

    return inject


def last_words(**fields):
    """Return what the device reported just before it fell silent."""

    async def inject(patient):
        await patient.silent(60, **fields)

    return inject
