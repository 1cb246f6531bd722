"""Devices that are announced before they come, and credentials that have to end at once."""

import asyncio
import uuid as uuids

import pytest
from device_cloud import Device, build, code_of, served

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ROLE_PERMISSIONS, ApiKeyPrincipal, Role
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.agentupdates.routes import agent_update_router
from iotistic.control.agentupdates.service import AgentUpdates
from iotistic.control.agentupdates.settings import AgentUpdateSettings
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.devices.fleet_routes import fleet_router
from iotistic.control.devices.lifecycle import Lifecycle
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.provisioning.announcing import Announcing
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.provisioning.fleet_routes import arrival_router
from iotistic.control.provisioning.registration import FixedPlan
from iotistic.control.provisioning.revoking import EmergencyRevocation
from iotistic.control.states.operator_routes import target_router
from iotistic.control.why.records import DecisionRecords
from iotistic.kernel.web.attempts import FailedAttempts

MAC = "AA-BB-CC-DD-EE-FF"


class People:
    """Stands for accounts: an API key of each role, by the role's name."""

    async def find(self, token):
        if token not in set(Role):
            return None
        return ApiKeyPrincipal(key_id=token, user_id=uuids.uuid4(), permissions=ROLE_PERMISSIONS[Role(token)])


def site(pool, *, limit=-1):
    trail, decisions = AuditTrail(), DecisionRecords()
    cloud = build(pool, limit=limit, trail=trail, decisions=decisions)
    install_gate(
        cloud.app,
        Gate(
            callers=People(),
            devices=FleetDeviceSource(cloud.devices),
            addresses=ClientAddresses(),
            attempts=FailedAttempts(limit=100_000),
        ),
    )
    plan = FixedPlan(limit, "https://x.example/up")
    announcing = Announcing(pool, plan, trail=trail, decisions=decisions)
    revocation = EmergencyRevocation(pool, DeviceCertificates(None), trail=trail, decisions=decisions)
    cloud.app.include_router(arrival_router(pool, announcing, revocation), prefix="/api/v1")
    updates = AgentUpdates(pool, AgentUpdateSettings(), clock=cloud.clock)
    for router in (target_router(cloud.states), agent_update_router(updates)):
        cloud.app.include_router(router, prefix="/api/v1")
    cloud.app.include_router(fleet_router(pool, Lifecycle(pool, trail=trail)), prefix="/api/v1")
    return cloud


@pytest.fixture
async def cloud(pool):
    async with served(site(pool)) as cloud:
        yield cloud


async def ask(cloud, method, path, body=None, role="admin"):
    return await cloud.client.request(method, path, json=body, headers={"Authorization": f"Bearer {role}"})


async def announced(cloud, **body):
    answer = await ask(cloud, "POST", "/devices", {"deviceName": "press of hall 1", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["device"]


async def shown(cloud, uuid):
    return (await ask(cloud, "GET", f"/devices/{uuid}")).json()["device"]


async def test_an_announced_device_is_pending_inactive_and_in_the_list(cloud):
    made = await announced(cloud, macAddress=MAC, ipAddress="10.0.0.7")
    listed = (await ask(cloud, "GET", "/devices")).json()["devices"]

    assert [one["uuid"] for one in listed] == [made["uuid"]]
    named = ("name", "device_type", "provisioning_state", "is_active", "mac_address", "ip_address")
    assert [made[name] for name in named] == [
        "press of hall 1", "gateway", "pending", False, MAC, "10.0.0.7",
    ]  # fmt: skip
    assert (
        await cloud.pool.fetchval("SELECT count(*) FROM audit_logs WHERE event_type = 'device.announced'")
        == 1
    )


async def test_the_device_with_that_mac_takes_over_the_row_and_what_was_made_for_it(cloud):
    made = await announced(cloud, macAddress=MAC)
    await cloud.pool.execute(
        "INSERT INTO device_tags (device_uuid, key, value) VALUES ($1::text::uuid, 'site', 'Bonn')",
        made["uuid"],
    )
    device = Device(cloud, await cloud.key())
    await device.provision()
    found = await shown(cloud, device.uuid)

    assert (found["number"], found["name"]) == (made["number"], "press of hall 1")
    assert (found["provisioning_state"], found["is_active"], found["fleet_id"]) == (
        "registered",
        True,
        "hall-1",
    )
    assert (found["tags"], found["agent_version"]) == ({"site": "Bonn"}, "1.2.3")
    assert await cloud.count("fleet_devices") == await cloud.count("device_presence") == 1
    assert (await device.poll()).status_code == 200
    assert (await ask(cloud, "GET", f"/devices/{made['uuid']}")).status_code == 404


async def test_an_announced_device_is_looked_at_given_a_target_and_begins_with_it(cloud):
    """Its target routes answered 404 until it had registered."""
    made, untouched = await announced(cloud, macAddress=MAC), await announced(cloud)
    path = f"/devices/{made['uuid']}"
    before = await ask(cloud, "GET", f"{path}/target-state")
    history = await ask(cloud, "GET", f"{path}/target-state/history")
    wanted = {"apps": {}, "config": {"logging": {"level": "debug"}}}
    put = await ask(cloud, "PUT", f"{path}/target-state", wanted)
    deployed = await ask(cloud, "POST", f"{path}/deploy", {"expected_version": 1})
    ordered = await ask(cloud, "POST", f"{path}/update-agent", {"version": "1.4.2"})
    await ask(cloud, "PUT", f"{path}/target-state", {"apps": {}, "config": {}})
    device = Device(cloud, await cloud.key())
    await device.provision()
    polled = (await device.poll()).json()[device.uuid]
    waiting = (await ask(cloud, "GET", f"/devices/{device.uuid}/target-state")).json()
    order = await device.get(f"/device/{device.uuid}/agent-update")
    stranger = await ask(cloud, "PUT", f"/devices/{uuids.uuid4()}/target-state", wanted)

    assert (before.json()["version"], before.json()["needs_deployment"], history.json()["items"]) == (
        1,
        False,
        [],
    )
    assert [answer.status_code for answer in (put, deployed, ordered, stranger)] == [200, 200, 202, 404]
    assert (polled["config"], polled["version"]) == (wanted["config"], 2)
    assert (waiting["needs_deployment"], order.json()["version"]) == (True, "1.4.2")
    assert await cloud.count("device_targets") == 1
    assert (await ask(cloud, "GET", f"/devices/{untouched['uuid']}/target-state")).status_code == 200


async def test_the_device_with_that_uuid_takes_over_the_row(cloud):
    made = await announced(cloud, macAddress="02:00:00:00:00:01")
    other = await announced(cloud, macAddress=MAC)
    device = Device(cloud, await cloud.key(), uuid=made["uuid"])
    await device.provision()

    assert (await shown(cloud, made["uuid"]))["provisioning_state"] == "registered"
    assert (await shown(cloud, other["uuid"]))["provisioning_state"] == "pending"


async def test_a_device_is_let_in_by_a_key_of_the_fleet_that_it_is_announced_for(cloud):
    await announced(cloud, macAddress=MAC, fleetId="hall-2")
    stranger = await Device(cloud, await cloud.key()).register()
    right = await Device(cloud, await cloud.key(fleet_id="hall-2")).register()

    assert code_of(stranger) == (409, "provisioning.awaited_elsewhere")
    assert right.status_code == 200


async def test_announced_devices_count_and_races_pass_no_limit(pool):
    async with served(site(pool, limit=3)) as cloud:
        key = await cloud.key()
        answers = await asyncio.gather(
            *(ask(cloud, "POST", "/devices", {"deviceName": f"press {number}"}) for number in range(6)),
            *(Device(cloud, key).register(mac_address="") for _ in range(6)),
        )

        done = [one for one in answers if one.status_code in (200, 201)]
        refused = [one for one in answers if one.status_code == 402]
        assert (len(done), len(refused)) == (3, 9)
        assert refused[0].json()["upgradeUrl"] == "https://x.example/up"
        assert await cloud.count("fleet_devices") == 3


async def test_an_announced_device_comes_though_the_plan_is_full(pool):
    async with served(site(pool, limit=1)) as cloud:
        await announced(cloud, macAddress=MAC)
        key = await cloud.key()
        answers = await asyncio.gather(*(Device(cloud, key).register() for _ in range(4)))

        assert sorted(one.status_code for one in answers) == [200, 402, 402, 402]


async def test_one_mac_is_announced_once(cloud):
    await announced(cloud, macAddress=MAC)
    other = await announced(cloud, macAddress="02:00:00:00:00:01")
    again = await ask(cloud, "POST", "/devices", {"deviceName": "x", "macAddress": "aabbccddeeff"})
    changed = await ask(cloud, "PATCH", f"/devices/{other['uuid']}", {"macAddress": MAC.lower()})

    assert code_of(again) == code_of(changed) == (409, "device.mac_awaited")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"deviceName": ""},
        {"deviceName": "x" * 256},
        {"deviceName": "x", "macAddress": "no"},
        {"deviceName": "x", "ipAddress": "300.1.1.1"},
        {"deviceName": "x", "more": 1},
        {"deviceName": "a\x00b"},
    ],
)
async def test_what_is_no_announcement_is_refused(cloud, body):
    answer = await ask(cloud, "POST", "/devices", body)

    assert answer.status_code in (400, 422)
    assert await cloud.count("fleet_devices") == 0


@pytest.mark.parametrize(
    ("role", "status"), [("owner", 201), ("manager", 201), ("operator", 403), ("viewer", 403)]
)
async def test_who_may_announce(cloud, role, status):
    assert (await ask(cloud, "POST", "/devices", {"deviceName": "x"}, role)).status_code == status


async def test_every_credential_ends_at_once_and_the_device_comes_back_by_its_private_key(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    await cloud.devices.rotate(device.uuid)
    path = f"/admin/device/{device.uuid}/emergency-revoke"
    answer = await ask(cloud, "POST", path, {"reason": "stolen from the van"})
    refused = await device.poll()
    ends = await cloud.pool.fetch("SELECT serial FROM refused_device_certificates")
    accounts = await cloud.count("device_mqtt_accounts")
    device.api_key = Device(cloud, "").api_key
    without_proof = await device.register()
    challenge = (await device.challenge()).json()["challenge"]
    back = await device.register(proof=device.proof(challenge))

    assert answer.json() == {
        "status": "ok", "uuid": device.uuid, "keys_revoked": 2, "certificates_revoked": 1,
    }  # fmt: skip
    assert code_of(refused) == (401, "device.key_unknown")
    assert (len(ends), accounts) == (1, 0)
    assert code_of(without_proof) == (409, "provisioning.device_exists")
    assert back.status_code == 200, back.text
    assert (await device.poll()).status_code == 200


async def test_a_revocation_is_told_in_the_audit_trail_and_why(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    path = f"/admin/device/{device.uuid}/emergency-revoke"
    await ask(cloud, "POST", path, {"reason": "stolen"})
    again = await ask(cloud, "POST", path, {"reason": "stolen"})
    code = "device.emergency_revoked"

    assert again.json()["keys_revoked"] == 0
    noted = await cloud.pool.fetchrow(
        "SELECT severity, details::text FROM audit_logs WHERE event_type = $1", code
    )
    assert noted["severity"] == "critical"
    assert "stolen" in noted["details"]
    assert await cloud.pool.fetchval("SELECT count(*) FROM why_records WHERE code = $1", code) == 2


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("manager", 403), ("operator", 403), ("viewer", 403)]
)
async def test_who_may_revoke(cloud, role, status):
    device = Device(cloud, await cloud.key())
    await device.provision()
    answer = await ask(cloud, "POST", f"/admin/device/{device.uuid}/emergency-revoke", {"reason": "x"}, role)

    assert answer.status_code == status


async def test_a_device_that_nobody_knows_cannot_be_revoked_and_a_reason_is_needed(cloud):
    path = "/admin/device/11111111-2222-4333-8444-555555555555/emergency-revoke"

    assert code_of(await ask(cloud, "POST", path, {"reason": "x"})) == (404, "device.unknown")
    assert (await ask(cloud, "POST", path, {})).status_code in (400, 422)
    assert (await ask(cloud, "POST", path, {"reason": ""})).status_code in (400, 422)
