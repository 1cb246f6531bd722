"""POST /mqtt/brokers/{id}/test against a real Mosquitto, and against what is none."""

import asyncio

import pytest
from broker_desk import running_desk

LOCAL = "127.0.0.0/8,::1/128"


@pytest.fixture
async def desk(pool):
    async with running_desk(pool, broker_test_networks=LOCAL, broker_test_timeout_s=2) as running:
        yield running


async def tried(desk, name, **asked):
    made = await desk.ask("POST", "/mqtt/brokers", {"name": name, "host": "127.0.0.1", **asked})
    assert made.status_code == 201, made.text
    answer = await desk.ask("POST", f"/mqtt/brokers/{made.json()['id']}/test")
    assert answer.status_code == 200, answer.text
    return answer.json()


def outcome(told):
    return told["ok"], told["stage"], told["code"]


async def test_a_login_is_tried_with_the_brokers_own_ca(desk, broker):
    access, ca = broker.server.access, broker.authority.certificate.read_text()
    plain = {
        "protocol": "mqtt",
        "port": access.port,
        "username": access.username,
        "password": access.password,
    }
    right = await tried(desk, "right", **plain)
    wrong = await tried(desk, "wrong", **{**plain, "password": "another"})
    # At this port the broker wants certificates of its clients, which no configuration has.
    secure = {"host": "localhost", "port": broker.server.endpoints.device_port}
    trusted = await tried(desk, "trusted", **secure, ca_pem=ca)
    stranger = await tried(desk, "stranger", **secure)
    viewer = await desk.ask("POST", "/mqtt/brokers/1/test", role="viewer")
    unknown = await desk.ask("POST", "/mqtt/brokers/999/test")

    assert outcome(right) == (True, "done", "")
    assert right["warnings"] == ["the password goes over the network in plain text"]
    assert outcome(wrong) == (False, "mqtt", "mqtt.login_refused")
    assert outcome(trusted)[0] is False
    assert trusted["code"] in {"mqtt.no_answer", "mqtt.tls_failed"}
    assert "certificate" in trusted["hint"]
    assert outcome(stranger) == (False, "tls", "mqtt.certificate_refused")
    assert (viewer.status_code, unknown.status_code) == (403, 404)
    assert access.password not in str([right, wrong])


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "mqtt.not_mqtt"),
        (b"\x20\x02\x00\x01", "mqtt.not_mqtt"),  # MQTT 3.1.1: the version is not spoken here
        (b"\xff" * 100_000, "mqtt.not_mqtt"),
        (b"", "mqtt.no_answer"),
        (None, "mqtt.unanswered"),
    ],
)
async def test_what_is_no_broker_is_said_to_be_none(desk, says, code):
    async def answer(reader, writer):
        await reader.read(10)
        if says is None:
            await reader.read()
        else:
            writer.write(says)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        told = await tried(desk, "none", protocol="mqtt", port=server.sockets[0].getsockname()[1])

    assert outcome(told) == (False, "mqtt", code)


async def test_nobody_makes_this_server_ask_its_own_network(pool, broker):
    async with running_desk(pool) as desk:
        port = broker.server.access.port
        found = [
            await tried(desk, f"inside-{number}", host=host, protocol="mqtt", port=port)
            for number, host in enumerate(
                ("127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]")
            )
        ]
        nowhere = await tried(desk, "nowhere", host="no-such-host.invalid")

    assert {outcome(told) for told in found} == {(False, "name", "mqtt.address_refused")}
    assert {told["address"] for told in found} == {""}
    assert outcome(nowhere) == (False, "name", "mqtt.name_unresolved")
