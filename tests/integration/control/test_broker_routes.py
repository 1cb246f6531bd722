"""The broker's routes: who is let in, what is answered, what is kept."""

import re

import pytest
from broker_desk import API_KEY, BASE, SECRET, running_desk
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from iotistic.control.access.model import KEY_SCOPES, ROLE_PERMISSIONS, Role
from iotistic.control.access.routing import check_routes
from iotistic.control.broker.agent_crl import AgentCertificates
from iotistic.control.broker.brokers import BrokerService, Seal, SealBroken
from iotistic.kernel.mosquitto.passwords import is_password
from iotistic.pki.ca import CertificateAuthority, server_profile
from iotistic.pki.service import utc_now

OPEN = ("public:", "a caller on this machine", "the broker's service credential")
BROKER = {"name": "main", "host": "mqtt.example.net", "port": 8883}


def pem_of_an_authority():
    key = ec.generate_private_key(ec.SECP256R1())
    return CertificateAuthority.create(key, common_name="CA", days=10, now=utc_now())


def pem_of_a_server():
    authority, key = pem_of_an_authority(), ec.generate_private_key(ec.SECP256R1())
    from_authority = authority.issue(server_profile("x", ["x"]), key.public_key(), days=1, now=utc_now())
    return from_authority.public_bytes(Encoding.PEM).decode()


@pytest.fixture
async def desk(pool):
    async with running_desk(pool) as running:
        yield running


def needs(desk):
    table = check_routes(desk.app)
    return [one for one in table if not any(rule.startswith(OPEN) for rule in one.rules)]


def is_allowed(permissions, need, *, is_person):
    wanted = {rule.removesuffix(", a person") for rule in need.rules}
    for_people = any(rule.endswith(", a person") for rule in need.rules)
    return wanted <= {permission.value for permission in permissions} and (is_person or not for_people)


async def status(desk, need, token):
    path = re.sub(r"\{[a-z_]+\}", "999999", need.path)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return (await desk.client.request(need.method, path, headers=headers)).status_code


async def test_every_route_says_what_it_needs(desk):
    assert len(needs(desk)) == 20


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_nobody_is_let_in_without_a_credential_that_is_right(desk, token):
    assert {str(need): await status(desk, need, token) for need in needs(desk)} == {
        str(need): 401 for need in needs(desk)
    }


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_is_let_in_exactly_where_it_holds_the_permission(desk, role):
    refused = {str(need): await status(desk, need, role.value) == 403 for need in needs(desk)}

    assert refused == {
        str(need): not is_allowed(ROLE_PERMISSIONS[role], need, is_person=True) for need in needs(desk)
    }


async def test_an_api_key_makes_no_accounts(desk):
    refused = {str(need): await status(desk, need, API_KEY) == 403 for need in needs(desk)}

    assert refused == {str(need): not is_allowed(KEY_SCOPES, need, is_person=False) for need in needs(desk)}
    assert refused[f"POST {BASE}/auth/mqtt-users"]


async def test_a_password_that_is_made_here_is_shown_once_and_kept_nowhere(desk):
    made = await desk.ask("POST", "/auth/mqtt-users", {"username": "ada"})
    password, user_id = made.json()["password"], made.json()["id"]
    shown = [await desk.ask("GET", path) for path in ("/auth/mqtt-users", f"/auth/mqtt-users/{user_id}")]
    rows = await desk.pool.fetch("SELECT mqtt_users::text AS text, password_hash FROM mqtt_users")

    assert len(password) >= 32
    assert not any(password in answer.text or "$7$" in answer.text for answer in shown)
    assert password not in rows[0]["text"]
    assert is_password(rows[0]["password_hash"], password)


async def test_a_given_password_is_not_said_again(desk):
    made = await desk.ask("POST", "/auth/mqtt-users", {"username": "ada", "password": "correct horse"})

    assert made.json()["password"] is None
    assert "correct" not in made.text


async def test_a_user_is_listed_with_its_rules_in_their_order(desk):
    user_id = await desk.user("ada")
    for topic, priority in (("low", 0), ("high", 9)):
        asked = {"topic": topic, "rw": 1, "priority": priority}
        assert (await desk.ask("POST", f"/auth/mqtt-users/{user_id}/acls", asked)).status_code == 201
    await desk.user("bob")

    users = (await desk.ask("GET", "/auth/mqtt-users")).json()

    assert [(user["username"], [acl["topic"] for acl in user["acls"]]) for user in users] == [
        ("ada", ["high", "low"]),
        ("bob", []),
    ]
    assert users[0]["acls"][0]["access"] == 1 + 4


async def test_a_user_is_changed_and_removed_with_its_rules(desk):
    user_id = await desk.user("ada")
    rule_id = await desk.rule(user_id, "a", 3)

    changed = await desk.ask("PUT", f"/auth/mqtt-users/{user_id}", {"is_active": False})
    rule = await desk.ask("PUT", f"/auth/mqtt-acls/{rule_id}", {"access": 1})
    removed = await desk.ask("DELETE", f"/auth/mqtt-users/{user_id}")

    assert changed.json()["is_active"] is False
    assert (rule.json()["topic"], rule.json()["access"]) == ("a", 1)
    assert removed.status_code == 200
    assert (await desk.ask("PUT", f"/auth/mqtt-acls/{rule_id}", {"access": 1})).status_code == 404
    assert (await desk.ask("GET", f"/auth/mqtt-users/{user_id}")).json()["code"] == "mqtt.user_unknown"


@pytest.mark.parametrize(
    "name",
    [
        "", "a b", "a/b", "#", "+", "a:b", "a\nb", "\u00e4da", "-x", "x" * 65, "iotistic", "IOTISTIC-api",
        "device_6d0b0f0e-4c5b-4e3a-9d0f-0a1b2c3d4e5f", "6d0b0f0e-4c5b-4e3a-9d0f-0a1b2c3d4e5f", "aabbccddee01",
        "AABBCCDDEE01", "ingest-1",
    ],
)  # fmt: skip
async def test_names_that_mean_something_else_to_a_broker_are_refused(desk, name):
    answer = await desk.ask("POST", "/auth/mqtt-users", {"username": name, "password": "correct horse"})

    assert (answer.status_code, answer.json()["code"]) == (400, "mqtt.username_invalid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"username": "ada", "password": "correct horse"}, "mqtt.user_exists"),
        ({"username": "bob", "password": "short"}, "mqtt.password_invalid"),
        ({"username": "bob", "password": "with\nbreak in it"}, "mqtt.password_invalid"),
        ({"username": "bob", "password_hash": "$7$101$AA==$AA=="}, "request.invalid"),
        ({}, "request.invalid"),
    ],
)
async def test_a_user_that_cannot_be_is_refused(desk, body, code):
    await desk.user("ada")
    answer = await desk.ask("POST", "/auth/mqtt-users", body)

    assert answer.status_code in {400, 422}
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"topic": "a/#/b", "access": 1}, "mqtt.filter_invalid"),
        ({"topic": "a\nuser root", "access": 1}, "mqtt.filter_invalid"),
        ({"topic": "a"}, "mqtt.access_invalid"),
        ({"topic": "a", "access": 0}, "mqtt.access_invalid"),
        ({"topic": "a", "access": 8}, "mqtt.access_invalid"),
        ({"topic": "a", "rw": 4}, "mqtt.access_invalid"),
        ({"topic": "a", "rw": 1, "access": 1}, "mqtt.access_invalid"),
        ({"topic": "taken", "access": 1}, "mqtt.acl_exists"),
        ({"topic": "a", "access": 1, "priority": 10**9}, "request.invalid"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused(desk, body, code):
    user_id = await desk.user("ada")
    await desk.rule(user_id, "taken", 1)

    answer = await desk.ask("POST", f"/auth/mqtt-users/{user_id}/acls", body)

    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    "path", ["/auth/mqtt-users/0", "/auth/mqtt-users/99999999999999999999", "/mqtt/brokers/x"]
)
async def test_ids_that_cannot_be_are_refused(desk, path):
    assert (await desk.ask("GET", path)).status_code == 422


async def test_a_broker_is_kept_without_its_password(desk):
    authority = pem_of_an_authority()
    asked = BROKER | {"password": "of that broker", "ca_pem": authority.pem, "is_default": True}
    made = await desk.ask("POST", "/mqtt/brokers", asked)
    sealed = await desk.pool.fetchval("SELECT password_sealed FROM mqtt_brokers")

    assert made.status_code == 201, made.text
    assert made.json()["has_password"]
    assert "of that broker" not in made.text
    assert b"of that broker" not in sealed
    broker_id = made.json()["id"]
    assert (await desk.desk.brokers.password(broker_id)).get_secret_value() == "of that broker"
    with pytest.raises(SealBroken):
        await BrokerService(desk.pool, Seal(SecretStr(SECRET[::-1]))).password(broker_id)


async def test_there_is_one_default_at_most(desk):
    for name in ("one", "two"):
        await desk.ask("POST", "/mqtt/brokers", BROKER | {"name": name, "is_default": True})
    summary = (await desk.ask("GET", "/mqtt/brokers/summary")).json()

    assert (summary["total"], summary["with_tls"], summary["default"]["name"]) == (2, 2, "two")
    first = (await desk.desk.brokers.list_all())[0]
    await desk.ask("PUT", f"/mqtt/brokers/{first.id}", {"is_default": True, "port": 1884})
    assert (await desk.desk.brokers.default()).port == 1884
    assert (await desk.ask("DELETE", f"/mqtt/brokers/{first.id}")).status_code == 204
    assert await desk.desk.brokers.default() is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_pem": "not a certificate"}, "mqtt.ca_invalid"),
        ({"ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "mqtt.ca_invalid"),
        ({"ca_pem": "of a server"}, "mqtt.ca_invalid"),
        ({"host": "a b"}, "request.invalid"),
        ({"host": "mqtt://x"}, "request.invalid"),
        ({"port": 0}, "request.invalid"),
        ({"protocol": "ws"}, "request.invalid"),
        ({"name": "taken"}, "mqtt.broker_exists"),
    ],
)
async def test_a_broker_that_cannot_be_is_refused(desk, changes, code):
    await desk.ask("POST", "/mqtt/brokers", BROKER | {"name": "taken"})
    given = {name: pem_of_a_server() if value == "of a server" else value for name, value in changes.items()}

    assert (await desk.ask("POST", "/mqtt/brokers", BROKER | given)).json()["code"] == code


async def test_without_a_secret_no_password_is_kept(pool):
    async with running_desk(pool, broker_secret=None) as desk:
        answer = await desk.ask("POST", "/mqtt/brokers", BROKER | {"password": "x"})

        assert answer.json()["code"] == "mqtt.seal_missing"
        assert await pool.fetchval("SELECT count(*) FROM mqtt_brokers") == 0


async def test_a_revoked_certificate_of_an_agent_is_named_until_it_is_over(pool):
    await pool.execute(
        "INSERT INTO device_certificates (serial, device_uuid, public_key, pem, issued_at, not_after, revoked_at) "
        "SELECT s, gen_random_uuid(), '', '', now(), now() + a, r FROM (VALUES "
        "('0a', interval '1 day', now()), ('0b', interval '-1 day', now())) AS v (s, a, r)"
    )

    assert [one.certificate.serial for one in await AgentCertificates(pool).refused(utc_now())] == ["0a"]
