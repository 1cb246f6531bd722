"""API keys with grace periods, certificates that are renewed, and leaving: over HTTP, on a real PostgreSQL."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from device_cloud import Device, build, code_of, served

from iotistic.contracts.provisioning import keys
from iotistic.contracts.provisioning.rotation import read_key_status, read_rotated
from iotistic.control.devices.source import FleetDeviceSource

DAY = timedelta(days=1)


@pytest.fixture
async def cloud(pool):
    async with served(build(pool)) as cloud:
        yield cloud


@pytest.fixture
async def device(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    return device


async def status_of(device):
    return await device.get(f"/device/{device.uuid}/key-status")


async def test_both_keys_are_good_until_the_grace_period_ends(cloud, device):
    old = device.api_key
    rotated = read_rotated((await device.post(f"/device/{device.uuid}/rotate-key")).json())
    cloud.clock.ahead += 6 * DAY
    before = await device.poll()
    told = read_key_status((await status_of(device)).json())
    cloud.clock.ahead += 2 * DAY
    after = await device.poll()
    device.api_key = rotated.api_key

    assert before.status_code == 200
    assert told == pytest.approx(rotated.old_valid_until, abs=1)
    assert code_of(after) == (401, "device.key_unknown")
    assert (await device.poll()).status_code == 200
    assert rotated.api_key != old


async def test_a_lost_rotation_costs_nothing_but_another_key(cloud, device):
    first = read_rotated((await device.post(f"/device/{device.uuid}/rotate-key")).json())
    second = read_rotated((await device.post(f"/device/{device.uuid}/rotate-key")).json())
    polls = []
    for key in (device.api_key, first.api_key, second.api_key):
        device.api_key = key
        polls.append((await device.poll()).status_code)

    assert polls == [200, 200, 200]


async def test_the_newest_key_is_taken_after_its_time_and_told_to_be_over(cloud, device):
    cloud.clock.ahead += 400 * DAY
    status = await status_of(device)

    assert read_key_status(status.json()) < cloud.clock().timestamp()
    assert (await device.post(f"/device/{device.uuid}/rotate-key")).status_code == 200


async def test_a_device_gone_wild_is_braked(cloud, device):
    path = f"/device/{device.uuid}/rotate-key"
    answers = await asyncio.gather(*(device.post(path) for _ in range(12)))
    cloud.clock.ahead += timedelta(hours=2)

    assert sorted(one.status_code for one in answers) == [200] * 5 + [429] * 7
    assert (await device.post(path)).status_code == 200
    history = (await device.get(f"/device/{device.uuid}/rotation-history")).json()
    assert history["count"] == 7
    assert [one["is_newest"] for one in history["history"]] == [True] + [False] * 6


async def test_revoked_keys_are_refused_at_once_and_a_proof_brings_the_device_back(cloud, device):
    await cloud.devices.revoke_keys(device.uuid)
    again = Device(cloud, device.provisioning_key, uuid=device.uuid, private_key=device.private_key)
    refused = await device.poll()
    challenge = (await again.challenge()).json()["challenge"]

    assert code_of(refused) == (401, "device.key_unknown")
    assert (await again.register(proof=again.proof(challenge))).status_code == 200
    assert (await again.poll()).status_code == 200


async def test_keys_open_their_own_device_only(cloud, device):
    other = Device(cloud, await cloud.key())
    await other.provision()
    headers = {"X-Device-API-Key": device.api_key}
    nobody = "0f8fad5b-d9cb-469f-a165-70867728950e"
    get = cloud.client.get

    assert code_of(await get(f"/device/{other.uuid}/key-status", headers=headers)) == (
        401,
        "device.key_unknown",
    )
    assert code_of(await get(f"/device/{other.uuid}/state", headers=headers)) == (401, "device.key_unknown")
    assert code_of(await get(f"/device/{nobody}/state", headers=headers)) == (404, "device.unknown")
    assert code_of(await get(f"/device/{device.uuid}/state")) == (401, "device.key_missing")
    assert code_of(await get("/device/x/state", headers=headers)) == (400, "provisioning.invalid")
    bearer = {"Authorization": f"Bearer {device.api_key}"}
    assert (await get(f"/device/{device.uuid}/state", headers=bearer)).status_code == 200


async def test_a_key_tells_whose_it_is_to_routes_that_name_no_device(cloud, device):
    source = FleetDeviceSource(cloud.devices)
    own = UUID(device.uuid)

    assert (await source.find(device.api_key, None)).device_uuid == own
    assert (await source.find(device.api_key, own)).device_uuid == own
    assert await source.find(device.api_key, uuid4()) is None
    assert await source.find("0123456789abcdef" * 4, None) is None
    await cloud.devices.revoke_keys(device.uuid)
    assert await source.find(device.api_key, None) is None


async def test_a_device_that_was_switched_off_is_told_so(cloud, device):
    await cloud.pool.execute("UPDATE fleet_devices SET is_active = false")

    assert code_of(await device.poll()) == (403, "device.inactive")
    assert code_of(await status_of(device)) == (403, "device.inactive")
    assert code_of(await device.report({"version": 1})) == (403, "device.inactive")


async def test_a_certificate_is_renewed_for_a_new_key_and_the_old_key_still_proves(cloud, device):
    former = device.private_key
    device.private_key = keys.make_key()
    csr = keys.make_csr(device.private_key, device.uuid)
    renewed = await device.post(f"/device/{device.uuid}/certificate", {"csr": csr})
    again = await device.post(f"/device/{device.uuid}/certificate", {"csr": csr})
    cloud.clock.ahead += timedelta(hours=2)
    later = await device.post(f"/device/{device.uuid}/certificate", {"csr": csr})
    device.private_key, newest = former, device.private_key
    by_former = await device.exchange((await device.challenge()).json()["challenge"])
    device.private_key = newest
    by_newest = await device.exchange((await device.challenge()).json()["challenge"])
    device.private_key = former
    too_late = await device.exchange((await device.challenge()).json()["challenge"])

    certificate = x509.load_pem_x509_certificate(renewed.json()["certificate"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={device.uuid}"
    assert keys.is_for(renewed.json()["certificate"], newest)
    assert again.json() == renewed.json()
    assert later.json()["certificate"] != renewed.json()["certificate"]
    assert (by_former.status_code, by_newest.status_code) == (200, 200)
    assert code_of(too_late) == (401, "provisioning.proof_invalid")


async def test_certificates_that_are_asked_for_wrongly(cloud, device):
    path = f"/device/{device.uuid}/certificate"

    assert code_of(await device.post(path, {})) == (400, "provisioning.invalid")
    assert code_of(await device.post(path, {"csr": "no"})) == (400, "provisioning.key_invalid")
    device.api_key = "0123456789abcdef" * 4
    assert code_of(await device.post(path, {})) == (401, "device.key_unknown")


async def test_a_device_that_leaves_leaves_nothing_but_revoked_certificates(cloud, device):
    await device.report({"version": 1})
    left = await device.leave()

    assert left.status_code == 200
    assert code_of(await device.leave()) == (404, "device.unknown")
    assert await cloud.count("device_api_keys") == 0
    assert await cloud.count("device_mqtt_accounts") == 0
    assert await cloud.count("device_states") == 0
    assert await cloud.count("device_certificates WHERE revoked_at IS NULL") == 0
    assert await cloud.pool.fetchval("SELECT devices FROM fleet_device_tally") == 0


async def test_leaving_makes_room_for_another(pool):
    async with served(build(pool, limit=1)) as cloud:
        key = await cloud.key()
        first, second = Device(cloud, key), Device(cloud, key)
        await first.provision()
        refused = await second.register()
        await first.leave()

        assert code_of(refused) == (402, "plan.device_limit")
        assert (await second.register()).status_code == 200
