"""Brokers that ask: what they are told, and what anybody else is told."""

import asyncio
import base64
import time

import pytest
from broker_desk import BROKER_TOKEN, running_desk
from device_cloud import served

YES, REFUSED_LOGIN, NO = 200, 401, 403
GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"\xff\xfe\x00",
    b'{"username": 1, "password": 2, "topic": 3, "acc": "x"}',
    b'{"username": null, "acc": null, "topic": null}',
    b'{"username": "\\u0000", "password": "\\u0000", "acc": 1, "topic": "\\u0000"}',
    b'{"username": "\\ud800", "password": "\\ud800", "acc": 1, "topic": "\\ud800"}',
    b'{"username": "ada", "password": {}, "acc": 1e400, "topic": "a"}',
    b'{"username": "ada", "acc": 99999999999999999999, "topic": "a"}',
    b'{"username": "' + b"x" * 70_000 + b'", "acc": 1, "topic": "a"}',
    b"[" * 50_000,
]


@pytest.fixture
async def desk(pool):
    async with running_desk(pool) as running, served(running.cloud):
        yield running


async def seen_soon(question):
    """Wait until a question is answered with yes; a change is heard of within a moment."""
    async with asyncio.timeout(5):
        while not await question():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)


async def test_a_user_logs_in_by_the_right_password_only(desk):
    await desk.user("ada", password="correct horse")

    assert await desk.question("user", username="ada", password="correct horse", clientid="x") == YES
    for password in ("", "correct hors", "correct horse ", "\0", "x" * 10_000):
        assert await desk.question("user", username="ada", password=password) == REFUSED_LOGIN
    for name in ("", "Ada", "ada ", "bob", "%", "_", "ada' OR '1'='1", "x" * 60_000):
        assert await desk.question("user", username=name, password="correct horse") == REFUSED_LOGIN


async def test_a_switched_off_user_is_refused_at_once(desk):
    user_id = await desk.user("ada", is_superuser=True)
    assert await desk.question("user", username="ada", password="correct horse") == YES
    assert await desk.question("superuser", username="ada") == YES

    await desk.ask("PUT", f"/auth/mqtt-users/{user_id}", {"is_active": False})

    async def is_off():
        return await desk.question("user", username="ada", password="correct horse") == REFUSED_LOGIN

    await seen_soon(is_off)
    assert await desk.question("superuser", username="ada") == NO
    assert not await desk.may("ada", 1, "a")


async def test_rules_are_matched_as_mqtt_does(desk):
    """Lesson 34: no wildcard ever matched, `.` matched anything, and writing included reading."""
    user_id = await desk.user("ada")
    for topic, access in (("a/#", 1), ("b/+/c", 2), ("own/%u/%c", 3), ("d.e", 7), ("s/#", 4)):
        await desk.rule(user_id, topic, access)

    allowed = [
        ("a", 1), ("a/b/c", 1), ("b//c", 2), ("own/ada/one", 3), ("d.e", 1), ("d.e", 4), ("s/+", 4), ("s/x/#", 4)
    ]  # fmt: skip
    denied = [
        ("a/b", 2), ("a/b", 3), ("a/b", 4), ("a/b", 0), ("a/b", 8), ("a/b", -1), ("b/c", 2), ("b/x/c", 1),
        ("own/bob/one", 3), ("own/ada/two", 3), ("dxe", 1), ("#", 4), ("s/x", 1), ("$SYS/x", 1), ("a/#", 1),
    ]  # fmt: skip
    assert [(topic, acc) for topic, acc in allowed if not await desk.may("ada", acc, topic)] == []
    assert [(topic, acc) for topic, acc in denied if await desk.may("ada", acc, topic)] == []


async def test_a_superuser_may_everything_and_others_are_none(desk):
    await desk.user("root", is_superuser=True)
    await desk.user("ada")

    assert await desk.question("superuser", username="root") == YES
    assert await desk.may("root", 2, "any/thing")
    assert await desk.question("superuser", username="ada") == NO
    assert await desk.question("superuser", username="nobody") == NO


async def test_a_change_of_rules_counts_at_once_although_answers_are_kept(desk):
    user_id = await desk.user("ada")
    assert not await desk.may("ada", 1, "a")

    rule_id = await desk.rule(user_id, "a", 1)
    await seen_soon(lambda: desk.may("ada", 1, "a"))
    await desk.ask("DELETE", f"/auth/mqtt-acls/{rule_id}")

    async def is_denied():
        return not await desk.may("ada", 1, "a")

    await seen_soon(is_denied)


async def test_a_device_is_let_in_and_to_its_own_topics(desk):
    device, name, password = await desk.plain_agent()
    other, *_ = await desk.plain_agent()

    assert await desk.question("user", username=name, password=password) == YES
    assert await desk.question("user", username=name, password=password[:-1]) == REFUSED_LOGIN
    assert await desk.may(name, 2, f"iot/device/{device.uuid}/state")
    assert await desk.may(name, 4, f"iot/device/{device.uuid}/jobs/+/update")
    for acc, topic in (
        (2, f"iot/device/{other.uuid}/state"),
        (1, f"iot/device/{device.uuid}/state"),
        (4, "iot/device/+/state/notify"),
        (4, "#"),
    ):
        assert not await desk.may(name, acc, topic)


async def test_a_device_by_certificate_has_its_topics_and_no_password(desk):
    device, _name, password = await desk.plain_agent()

    assert await desk.may(device.uuid, 2, f"iot/device/{device.uuid}/state")
    for presented in ("", password):
        assert await desk.question("user", username=device.uuid, password=presented) == REFUSED_LOGIN


@pytest.mark.parametrize("end", ["UPDATE fleet_devices SET is_active = false", "DELETE FROM fleet_devices"])
async def test_a_device_that_may_no_more_is_refused_at_once(desk, end):
    device, name, password = await desk.plain_agent()
    assert await desk.question("user", username=name, password=password) == YES

    await desk.pool.execute(end)

    async def is_refused():
        return await desk.question("user", username=name, password=password) == REFUSED_LOGIN

    await seen_soon(is_refused)
    assert not await desk.may(name, 2, f"iot/device/{device.uuid}/state")
    assert not await desk.may(device.uuid, 2, f"iot/device/{device.uuid}/state")


@pytest.mark.parametrize("which", ["user", "superuser", "acl"])
@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer wrong",
        "Bearer owner",
        "Basic !!!",
        "Basic " + base64.b64encode(b"broker").decode(),
        "Basic " + base64.b64encode(b"broker:wrong").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        f"Token {BROKER_TOKEN}",
        BROKER_TOKEN,
    ],
)
async def test_whoever_shows_no_credential_of_a_broker_is_told_nothing(desk, which, header):
    await desk.user("root", is_superuser=True)
    headers = {"Authorization": header} if header else {}
    asked = {"username": "root", "password": "correct horse", "topic": "a", "acc": 1}

    answer = await desk.client.post(f"/mosquitto-auth/{which}", json=asked, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "auth.credential_required")


async def test_a_broker_may_show_its_credential_as_a_basic_password(desk):
    await desk.user("ada")
    encoded = base64.b64encode(f"broker:{BROKER_TOKEN}".encode()).decode()
    asked = {"username": "ada", "password": "correct horse"}

    answer = await desk.client.post(
        "/mosquitto-auth/user", json=asked, headers={"Authorization": f"Basic {encoded}"}
    )

    assert answer.status_code == YES


async def test_without_a_credential_in_the_settings_nobody_is_let_in(pool):
    async with running_desk(pool, broker_auth_token=None) as desk:
        assert await desk.question("superuser", username="ada") == REFUSED_LOGIN
        assert await desk.question("superuser", username="ada", token="None") == REFUSED_LOGIN


@pytest.mark.parametrize("which", ["user", "superuser", "acl"])
@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_is_refused_and_breaks_nothing(desk, which, body):
    headers = {"Authorization": f"Bearer {BROKER_TOKEN}", "Content-Type": "application/json"}

    answer = await desk.client.post(f"/mosquitto-auth/{which}", content=body, headers=headers)

    assert 400 <= answer.status_code < 500


async def test_a_kept_answer_costs_no_question_to_the_database(desk):
    user_id = await desk.user("ada")
    await desk.rule(user_id, "a", 1)
    await seen_soon(lambda: desk.may("ada", 1, "a"))
    await desk.desk.judge.may("nobody", "x", 1, "a")
    before = desk.desk.judge._known.copy()

    started = time.monotonic()
    for _ in range(1000):
        await desk.desk.judge.may("ada", "x", 1, "a")
        await desk.desk.judge.may("nobody", "x", 1, "a")

    assert desk.desk.judge._known == before
    assert time.monotonic() - started < 2


async def test_names_that_nobody_has_fill_no_memory(desk):
    judge = desk.desk.judge
    for number in range(10_050):
        judge._keep(f"nobody-{number}", None)

    assert len(judge._known) == 10_000
