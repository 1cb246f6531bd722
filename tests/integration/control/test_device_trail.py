"""What devices and provisioning leave in the audit trail and in decision records."""

import json

import pytest
from device_cloud import Device, build, served

from iotistic.control.audit.trail import AuditTrail
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.why.port import About
from iotistic.control.why.records import DecisionRecords
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings


@pytest.fixture
async def cloud(pool):
    """A cloud whose rooms tell the trail and write decisions down, with room for one device."""
    built = build(pool, limit=1, trail=AuditTrail(), decisions=DecisionRecords())
    async with served(built) as cloud:
        yield cloud


async def kinds(pool):
    return [row["event_type"] for row in await pool.fetch("SELECT event_type FROM audit_logs ORDER BY id")]


async def test_keys_rotations_and_removals_are_noted(pool):
    keys = ProvisioningKeys(pool, trail=AuditTrail())
    plain, key = await keys.create(fleet_id="hall-1", created_by="user:ada")
    await keys.revoke(key.id, "lost", revoked_by="user:ada")
    rows = await pool.fetch("SELECT * FROM audit_logs ORDER BY id")
    text = "".join(str(dict(row)) for row in rows)

    assert [row["event_type"] for row in rows] == ["provisioning_key.created", "provisioning_key.revoked"]
    assert json.loads(rows[1]["after"])["revoked_reason"] == "lost"
    assert plain not in text
    assert plain[:12] not in text


async def test_a_refused_registration_is_explained_by_why(cloud, pool):
    key = await cloud.key()
    first, second = Device(cloud, key), Device(cloud, key)
    await first.provision()
    refused = await second.register()
    answer = await WhyService(pool, WhySettings()).ask(second.uuid, About.LIMITED)

    assert refused.status_code == 402
    assert answer.chain[0].code == "plan.device_limit"
    assert "allows 1 devices" in answer.chain[0].sentence
    assert await kinds(pool) == ["provisioning_key.created", "device.registered"]


async def test_a_device_that_rotates_and_leaves_is_noted_as_itself(cloud, pool):
    device = Device(cloud, await cloud.key())
    await device.provision()
    rotated = (await device.post(f"/device/{device.uuid}/rotate-key")).json()
    device.api_key = rotated.get("newApiKey", device.api_key)
    await device.leave()
    rows = await pool.fetch("SELECT * FROM audit_logs WHERE event_type LIKE 'device.%' ORDER BY id")
    answer = await WhyService(pool, WhySettings()).ask(device.uuid, About.OFFLINE)

    assert [row["event_type"] for row in rows] == [
        "device.registered",
        "device.key_rotated",
        "device.removed",
    ]
    assert {row["actor_id"] for row in rows} == {device.uuid}
    assert answer.chain[0].code == "device.removed"


async def test_an_operator_who_removes_a_device_is_named(pool):
    from why_injections import Patient

    device = await Patient(pool).born()
    service = DeviceService(pool, DeviceKeySettings(), trail=AuditTrail(), decisions=DecisionRecords())
    await service.remove(device.uuid, by="user:ada")
    answer = await WhyService(pool, WhySettings()).ask(device.uuid, About.OFFLINE)

    assert await pool.fetchval("SELECT actor_id FROM audit_logs") == "ada"
    assert "by user:ada" in answer.chain[0].sentence
