"""A device becomes known: over HTTP, on a real PostgreSQL; races, lost answers, and everything that is refused."""

import asyncio
import gzip
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from device_cloud import OPERATOR, Device, build, code_of, served

from iotistic.contracts.provisioning import keys
from iotistic.contracts.provisioning.answers import read_register_answer
from iotistic.kernel.web.auth import unprotected_routes

DAY = timedelta(days=1)


@pytest.fixture
async def cloud(pool):
    async with served(build(pool)) as cloud:
        yield cloud


async def test_every_route_says_what_it_needs(pool):
    assert unprotected_routes(build(pool).app) == []


@pytest.mark.parametrize("kind", ["x25519", "rsa"])
async def test_a_device_gets_everything_it_needs(pool, kind):
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else None
    async with served(build(pool, envelope_key=key)) as cloud:
        device = Device(cloud, await cloud.key())
        registered = await device.register()
        answer = read_register_answer(registered.json(), device.uuid)
        exchanged = await device.exchange(answer.challenge.text)

        assert registered.status_code == 200
        certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
        assert certificate.subject.rfc4514_string() == f"CN={device.uuid}"
        assert keys.is_for(answer.certificate, device.private_key)
        assert (answer.fleet_id, answer.mqtt.username) == ("hall-1", f"device_{device.uuid}")
        assert answer.mqtt.broker_config["caCert"].startswith("-----BEGIN CERTIFICATE")
        assert exchanged.json()["device"]["uuid"] == device.uuid
        assert (await device.poll()).status_code == 200


async def test_fifty_at_once_pass_no_limit(pool):
    async with served(build(pool, limit=3)) as cloud:
        key = await cloud.key()
        answers = await asyncio.gather(*(Device(cloud, key).register() for _ in range(50)))

        assert sorted(one.status_code for one in answers) == [200] * 3 + [402] * 47
        refused = next(one for one in answers if one.status_code == 402)
        assert code_of(refused) == (402, "plan.device_limit")
        assert refused.json()["upgradeUrl"] == "https://x.example/up"
        assert await cloud.count("fleet_devices") == 3
        assert (await cloud.keys.list())[0].current_uses == 3


async def test_fifty_at_once_take_no_more_uses_than_there_are(cloud):
    key = await cloud.key(max_uses=3)
    answers = await asyncio.gather(*(Device(cloud, key).register() for _ in range(50)))

    refused = {code_of(one) for one in answers if one.status_code != 200}
    assert sum(one.status_code == 200 for one in answers) == 3
    assert refused == {(401, "provisioning.key_used_up")}
    assert await cloud.count("fleet_devices") == 3


async def test_one_device_that_asks_many_times_at_once_is_one_device(cloud):
    device = Device(cloud, await cloud.key())
    answers = await asyncio.gather(*(device.register() for _ in range(20)))

    assert {one.status_code for one in answers} == {200}
    assert len({json.dumps(one.json(), sort_keys=True) for one in answers}) == 1
    assert (await cloud.keys.list())[0].current_uses == 1
    assert await cloud.count("device_certificates") == 1


async def test_a_lost_answer_is_given_again_even_when_the_key_is_used_up(cloud):
    device = Device(cloud, await cloud.key(max_uses=1))
    first = await device.register()
    cloud.clock.ahead += timedelta(minutes=1)
    second = await device.register()

    assert second.json()["mqtt"]["password"] == first.json()["mqtt"]["password"]
    assert second.json()["challenge"] == first.json()["challenge"]
    assert (await device.exchange(second.json()["challenge"])).status_code == 200


async def test_a_registration_is_not_told_again_once_the_keys_were_proven(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()

    assert code_of(await device.register()) == (409, "provisioning.device_exists")


async def test_a_provisioning_key_alone_replaces_no_device(cloud):
    key = await cloud.key()
    device = Device(cloud, key)
    await device.provision()
    thief = Device(cloud, key, uuid=device.uuid)
    challenge = (await thief.challenge()).json()["challenge"]
    proven = await thief.register(proof=thief.proof(challenge))

    assert code_of(await thief.register()) == (409, "provisioning.device_exists")
    assert code_of(await thief.register_open()) == (409, "provisioning.device_exists")
    assert code_of(proven) == (409, "provisioning.proof_refused")
    assert (await device.poll()).status_code == 200
    assert (await thief.poll()).status_code == 401


async def test_a_device_that_comes_back_leaves_no_credential_behind(cloud):
    device = Device(cloud, await cloud.key())
    before = await device.provision()
    again = Device(cloud, device.provisioning_key, uuid=device.uuid, private_key=device.private_key)
    challenge = (await again.challenge()).json()["challenge"]
    answer = await again.register(proof=again.proof(challenge))
    retold = await again.register(proof=again.proof(challenge))
    digests = await cloud.pool.fetch("SELECT password_digest FROM device_mqtt_accounts")

    assert answer.status_code == retold.status_code == 200
    assert answer.json()["mqtt"]["password"] == retold.json()["mqtt"]["password"]
    assert answer.json()["mqtt"]["password"] != before["mqtt"]["password"]
    assert len(digests) == 1
    assert code_of(await device.poll()) == (401, "device.key_unknown")
    assert (await again.poll()).status_code == 200
    assert (await again.exchange(answer.json()["challenge"])).status_code == 200
    assert (await cloud.keys.list())[0].current_uses == 1
    assert await cloud.count("device_certificates WHERE revoked_at IS NULL") == 1


async def test_a_proof_is_good_for_one_registration(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    challenge = (await device.challenge()).json()["challenge"]
    proof = device.proof(challenge)
    device.name = "second"
    await device.register(proof=proof)
    device.name = "third"

    assert code_of(await device.register(proof=proof)) == (409, "provisioning.device_exists")


async def test_keys_that_are_good_no_more(cloud):
    wrong = Device(cloud, "ab" * 32)
    revoked, expired = await cloud.key(), await cloud.key(lives=DAY)
    newest = {key.expires_at: key.id for key in await cloud.keys.list()}
    await cloud.keys.revoke(newest[max(newest)], "lost", revoked_by="test")
    cloud.clock.ahead += 2 * DAY

    assert code_of(await wrong.register()) == (401, "provisioning.key_unknown")
    assert code_of(await Device(cloud, "é").register()) == (401, "provisioning.key_unknown")
    assert code_of(await Device(cloud, expired).register()) == (401, "provisioning.key_expired")
    assert code_of(await Device(cloud, revoked).register()) == (401, "provisioning.key_revoked")
    assert await cloud.count("fleet_devices") == 0


async def test_requests_that_are_at_fault(cloud):
    device = Device(cloud, await cloud.key())
    sealed = await device.seal(device.request().write())
    post = cloud.client.post
    path = "/provisioning/v2/register"

    assert code_of(await post(path, json={**sealed, "keyId": "other"})) == (
        400,
        "provisioning.key_id_unknown",
    )
    assert code_of(await post(path, json={**sealed, "iv": "!"})) == (400, "provisioning.envelope_invalid")
    assert code_of(await post(path, content=b"\xff")) == (400, "request.body_invalid")
    assert code_of(await post(path, json=[1])) == (400, "provisioning.envelope_invalid")
    assert code_of(await device.register(csr="no")) == (400, "provisioning.key_invalid")
    assert code_of(await device.register(device_api_key="a" * 64)) == (400, "device.key_weak")
    assert code_of(await device.register(device_api_key="short")) == (400, "device.key_weak")
    assert code_of(await device.register(device_name="a\0b")) == (400, "provisioning.invalid")
    assert await cloud.count("fleet_devices") == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"uuid": 1e999}',
        b'{"uuid": "x"}',
        b"[" * 100_000,
        b"\xed\xa0\x80",
    ],
)
async def test_garbage_is_refused_by_every_door(cloud, content):
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    for path in (
        "/provisioning/v2/key-exchange",
        "/provisioning/v2/register",
        "/device/register",
        f"/device/{uuid}/key-exchange",
    ):
        answer = await cloud.client.post(path, content=content, headers=headers)

        assert answer.status_code in (400, 401, 404) or path.endswith("v2/key-exchange")
        assert answer.status_code < 500


async def test_a_packed_body_that_grows_without_end_is_refused(cloud):
    bomb = gzip.compress(b" " * 50_000_000)
    answer = await cloud.client.post(
        "/provisioning/v2/register", content=bomb, headers={"Content-Encoding": "gzip"}
    )

    assert code_of(answer) == (400, "request.body_too_large")


async def test_an_address_has_five_registrations_in_a_quarter_of_an_hour(pool):
    async with served(build(pool, provisioning_attempts_per_window=5)) as cloud:
        key = await cloud.key()
        answers = await asyncio.gather(*(Device(cloud, key).register() for _ in range(12)))
        braked = [one for one in answers if one.status_code == 429]
        cloud.clock.ahead += timedelta(minutes=16)

        assert len(braked) == 7
        assert code_of(braked[0]) == (429, "provisioning.too_many_attempts")
        assert 0 < int(braked[0].headers["Retry-After"]) <= 900
        assert (await Device(cloud, key).register()).status_code == 200


async def test_ten_refusals_within_an_hour_are_enough(pool):
    async with served(build(pool, provisioning_failures_per_hour=10)) as cloud:
        for _ in range(10):
            await Device(cloud, "ab" * 32).register()
        device = Device(cloud, await cloud.key())
        braked = await device.register()
        outcomes = await pool.fetch("SELECT DISTINCT outcome FROM provisioning_attempts")

        assert code_of(braked) == (429, "provisioning.too_many_attempts")
        assert [row["outcome"] for row in outcomes] == ["provisioning.key_unknown"]


async def test_devices_that_come_back_by_proof_are_not_taken_for_guessing(pool):
    async with served(build(pool, provisioning_failures_per_hour=2)) as cloud:
        device = Device(cloud, await cloud.key())
        await device.provision()
        answers = [await device.register() for _ in range(4)]

        assert {code_of(one) for one in answers} == {(409, "provisioning.device_exists")}


async def test_a_key_that_a_device_tells_beforehand_is_taken_note_of(cloud):
    asked = {"uuid": "0f8fad5b-d9cb-469f-a165-70867728950e", "devicePublicKey": "-----BEGIN\nx"}
    answer = await cloud.client.post("/provisioning/v2/key-exchange", json=asked)

    assert answer.json()["success"] is True
    assert "BEGIN PUBLIC KEY" in answer.json()["apiPublicKey"]


async def test_a_challenge_of_somebody_else_stays_unless_the_key_is_shown(cloud):
    device = Device(cloud, await cloud.key())
    registered = (await device.register()).json()
    stranger = await cloud.client.post(f"/device/{device.uuid}/challenge", json={})
    device.name = "another"
    own = await device.challenge(**{"X-Agent-Key": device.api_key})

    assert code_of(stranger) == (409, "provisioning.challenge_live")
    assert own.json()["challenge"] != registered["challenge"]
    assert code_of(await device.exchange(registered["challenge"])) == (401, "provisioning.proof_invalid")
    assert code_of(await device.exchange(own.json()["challenge"])) == (401, "provisioning.no_challenge")


async def test_key_exchanges_that_are_refused(cloud):
    device = Device(cloud, await cloud.key())
    challenge = (await device.register()).json()["challenge"]
    nobody = Device(cloud, "")
    cloud.clock.ahead += timedelta(minutes=6)

    assert code_of(await nobody.exchange("x")) == (404, "device.unknown")
    assert code_of(await nobody.challenge()) == (404, "device.unknown")
    assert code_of(await device.exchange(challenge, deviceApiKey="k" * 40)) == (401, "device.key_unknown")
    assert code_of(await device.exchange(challenge)) == (401, "provisioning.no_challenge")
    assert code_of(await cloud.client.post("/device/x/challenge", json={})) == (400, "provisioning.invalid")


async def test_deployed_agents_come_by_their_own_door(cloud):
    device = Device(cloud, await cloud.key(max_uses=1))
    registered = await device.register_open(macAddress="aa:bb:cc:dd:ee:ff", osVersion="Debian 11")
    lost = await device.register_open()
    exchange = {
        "json": {"deviceApiKey": device.api_key},
        "headers": {"Authorization": f"Bearer {device.api_key}"},
    }
    exchanged = await cloud.client.post(f"/device/{device.uuid}/key-exchange", **exchange)
    later = await device.register_open()
    answer = registered.json()

    assert answer["mqtt"]["username"] == f"device_{device.uuid}"
    assert set(answer["mqtt"]["brokerConfig"]) >= {
        "protocol",
        "host",
        "port",
        "useTls",
        "caCert",
        "keepAlive",
    }
    assert f"iot/device/{device.uuid}/#" in answer["mqtt"]["topics"]["publish"]
    assert exchanged.json()["status"] == "ok"
    assert exchanged.json()["device"] == {"id": answer["id"], "uuid": device.uuid, "deviceName": "old press"}
    assert lost.json() == later.json() == answer
    assert (await device.poll()).status_code == 200


async def test_deployed_agents_with_other_keys_are_refused(cloud):
    device = Device(cloud, await cloud.key())
    await device.register_open()
    device.api_key, first = "0123456789abcdef" * 4, device.api_key
    replaced = await device.register_open()
    unequal = await cloud.client.post(
        f"/device/{device.uuid}/key-exchange",
        json={"deviceApiKey": first},
        headers={"Authorization": f"Bearer {device.api_key}"},
    )

    assert code_of(replaced) == (409, "provisioning.device_exists")
    assert code_of(unequal) == (400, "request.body_invalid")
    assert code_of(await cloud.client.post("/device/register", json={})) == (401, "provisioning.key_unknown")


async def test_operators_make_list_and_revoke_keys(cloud):
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    path = "/provisioning-keys"
    made = await cloud.client.post(path, json={"fleetId": "hall-2", "maxUses": 2}, headers=operator)
    listed = await cloud.client.get(path, params={"fleetId": "hall-2"}, headers=operator)
    wrong = await cloud.client.post(path, json={"fleetId": "x", "maxDevices": 0}, headers=operator)
    generated = await cloud.client.post(
        f"{path}/generate", json={"previousKeyId": made.json()["id"]}, headers=operator
    )
    revoked = await cloud.client.request(
        "DELETE", f"{path}/{generated.json()['id']}", json={"reason": "lost"}, headers=operator
    )
    missing = await cloud.client.delete(f"{path}/0f8fad5b-d9cb-469f-a165-70867728950e", headers=operator)

    assert (made.status_code, made.json()["maxDevices"], len(made.json()["key"])) == (201, 2, 64)
    assert made.json()["key"] not in listed.text
    assert listed.json()["count"] == 1
    assert wrong.status_code == 422
    assert code_of(await Device(cloud, made.json()["key"]).register()) == (401, "provisioning.key_revoked")
    assert (revoked.json()["success"], revoked.json()["reason"]) == (True, "lost")
    assert code_of(missing) == (404, "provisioning.key_id_missing")
    assert (await cloud.client.get(path)).status_code == 401


async def test_nothing_that_is_secret_is_kept_in_plain(cloud):
    device = Device(cloud, await cloud.key())
    answer = await device.provision()
    tables = (
        "fleet_devices",
        "device_api_keys",
        "provisioning_keys",
        "device_registrations",
        "device_mqtt_accounts",
    )
    rows = [str(await cloud.pool.fetch(f"SELECT * FROM {table}")) for table in tables]
    kept = "".join(rows)

    assert device.uuid in kept
    assert not [
        secret
        for secret in (device.api_key, device.provisioning_key, answer["mqtt"]["password"])
        if secret in kept
    ]
