"""Messages over real HTTP and SMTP: signed, retried, given up, replayed, and never lost."""

import asyncio
import json
from datetime import timedelta

import pytest
from alert_builders import SECOND, SECRET, Hall, too_hot
from pydantic import SecretStr
from receivers import HttpReceiver, SmtpReceiver

from iotistic.control.access.model import Scope
from iotistic.control.alerts.conditions import Severity
from iotistic.control.alerts.model import DeliveryNotOver, NoSecret
from iotistic.control.alerts.settings import DeliverySettings, MailSettings
from iotistic.control.alerts.webhook import UrlInvalid, verify


@pytest.fixture
async def receiver():
    async with HttpReceiver().listening() as listening:
        yield listening


async def webhook(hall, receiver, **more):
    channel = {"kind": "webhook", "url": receiver.url}
    return await hall.targets.create(
        more.pop("name", "ops"), channel, more.pop("least", Severity.INFO), by="test"
    )


async def fire(hall, target, **more):
    series = await hall.series()
    await hall.rule(too_hot(), targets=[str(target.id)], **more)
    await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    return series


async def states(hall):
    rows = await hall.pool.fetch("SELECT state FROM alert_deliveries ORDER BY created_at, event")
    return [row["state"] for row in rows]


async def test_a_webhook_is_told_of_begin_and_end_with_a_signature(hall, receiver):
    target, secret = await webhook(hall, receiver)
    series = await fire(hall, target)
    await hall.courier.deliver_due()
    await hall.store(series, (hall.clock() + SECOND, 1.0))
    await hall.look()
    await hall.courier.deliver_due()

    told = [json.loads(body) for _, _, body in receiver.requests]
    assert [one["event"] for one in told] == ["alert.firing", "alert.resolved"]
    assert told[0]["alert"]["value"] == 40.0
    line, headers, body = receiver.requests[0]
    assert line == "POST /hook HTTP/1.1"
    now = hall.clock().timestamp()
    assert verify(secret, headers["iotistic-signature"], body, now)
    assert not verify(secret, headers["iotistic-signature"], body + b" ", now)
    assert not verify(secret, headers["iotistic-signature"], body, now + 3600)
    assert await states(hall) == ["delivered", "delivered"]


async def test_a_failure_is_tried_again_later_and_later_under_the_same_id(hall, receiver):
    receiver.answers = [500, 429, 200]
    target, _ = await webhook(hall, receiver)
    await fire(hall, target)
    tries = []
    for wait in (0, 4, 1, 9, 1):
        hall.clock.forward(wait)
        tries.append(await hall.courier.deliver_due())

    assert tries == [1, 0, 1, 0, 1]
    assert len({headers["iotistic-delivery"] for _, headers, _ in receiver.requests}) == 1
    assert await states(hall) == ["delivered"]


async def test_what_is_refused_is_given_up_and_can_be_replayed(hall, receiver):
    receiver.answers = [410, 200]
    target, _ = await webhook(hall, receiver)
    await fire(hall, target)
    await hall.courier.deliver_due()
    dead = (await hall.targets.deliveries(state="dead"))[0]
    await hall.targets.replay(dead.id)
    with pytest.raises(DeliveryNotOver):
        await hall.targets.replay(dead.id)
    await hall.courier.deliver_due()

    assert "410" in dead.last_fault
    assert [headers["iotistic-delivery"] for _, headers, _ in receiver.requests] == [str(dead.id)] * 2
    assert await states(hall) == ["delivered"]


async def test_attempts_come_to_an_end(pool, database, receiver):
    settings = DeliverySettings(
        alert_signing_secret=SECRET,
        alert_webhook_networks="127.0.0.1/32",
        alert_webhook_plain=True,
        alert_attempts=3,
        alert_circuit_failures=99,
    )
    hall = Hall(pool, database, delivery=settings)
    receiver.answers = [503]
    target, _ = await webhook(hall, receiver)
    await fire(hall, target)
    for _ in range(6):
        await hall.courier.deliver_due()
        hall.clock.forward(3600)

    assert len(receiver.requests) == 3
    assert await states(hall) == ["dead"]
    await hall.sink.close()


async def test_a_failing_target_is_left_alone_and_holds_up_no_other(hall, receiver):
    async with HttpReceiver(answers=[500]).listening() as broken:
        bad, _ = await webhook(hall, broken, name="bad")
        good, _ = await webhook(hall, receiver, name="good")
        for _ in range(7):
            await fire(hall, bad)
        await fire(hall, good)
        await hall.courier.deliver_due()
        resting = await hall.targets.find(bad.id)
        at_first = len(broken.requests)
        hall.clock.forward(61)
        broken.answers = [200]
        await hall.courier.deliver_due()

    assert (at_first, resting.failures, len(receiver.requests)) == (5, 5, 1)
    assert resting.resting_until is not None
    assert set(await states(hall)) == {"delivered"}
    assert (await hall.targets.find(bad.id)).failures == 0


async def test_a_slow_target_takes_up_one_sender_only(hall, receiver):
    async with HttpReceiver(hold=asyncio.Event()).listening() as slow:
        held, _ = await webhook(hall, slow, name="slow")
        quick, _ = await webhook(hall, receiver, name="quick")
        for _ in range(4):
            await fire(hall, held)
        await fire(hall, quick)
        sending = asyncio.create_task(hall.courier.deliver_one())
        async with asyncio.timeout(10):
            while not slow.requests:  # noqa: ASYNC110  what is waited for happens in a socket
                await asyncio.sleep(0.02)
        others = await hall.courier.deliver_due()
        slow.hold.set()
        await sending

    assert (others, len(slow.requests), len(receiver.requests)) == (1, 1, 1)


async def test_while_a_secret_is_rotated_both_sign(hall, receiver):
    target, first = await webhook(hall, receiver)
    _, second = await hall.targets.rotate_secret(target.id)
    await hall.targets.test(target.id)
    hall.clock.forward(2 * 86_400)
    await hall.targets.test(target.id)

    good = [
        [verify(one, headers["iotistic-signature"], body, int(headers["iotistic-signature"][2:12]))
         for one in (first, second)]
        for _, headers, body in receiver.requests
    ]  # fmt: skip
    assert first != second
    assert good == [[True, True], [False, True]]


async def test_less_severe_alerts_silenced_ones_and_other_rules_are_not_told(hall, receiver):
    target, _ = await webhook(hall, receiver, least=Severity.CRITICAL)
    await fire(hall, target)
    series = await hall.series()
    rule = await hall.rule(too_hot(), severity="critical", targets=[str(target.id)])
    await hall.alerts.silence(
        Scope(), rule_id=rule.id, device_uuid=None, until=hall.clock() + timedelta(hours=1), starts_at=None,
        comment="", by="x",
    )  # fmt: skip
    await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    silent = await states(hall)
    hall.clock.forward(3600)
    await hall.keeper.wake()

    assert (silent, await states(hall)) == ([], ["waiting"])


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/x", "https://10.0.0.1/x", "https://169.254.169.254/latest", "https://[::1]/x",
     "https://[::ffff:127.0.0.1]/x", "https://[64:ff9b::7f00:1]/x", "https://0.0.0.0/", "https://2130706433/"],
)  # fmt: skip
async def test_private_addresses_are_refused(pool, database, url):
    settings = DeliverySettings(alert_signing_secret=SECRET, alert_webhook_plain=True)
    hall = Hall(pool, database, delivery=settings)
    target, _ = await hall.targets.create("x", {"kind": "webhook", "url": url}, Severity.INFO, by="test")
    tested = await hall.targets.test(target.id)

    assert tested.state == "dead"
    assert tested.last_fault.startswith("alerts.address_refused")


async def test_redirects_are_not_followed(hall, receiver):
    async with HttpReceiver(answers=[302], headers={"Location": receiver.url}).listening() as redirecting:
        target, _ = await webhook(hall, redirecting)
        tested = await hall.targets.test(target.id)

    assert (tested.state, receiver.requests) == ("dead", [])
    assert (tested.attempts, tested.created_at) == (1, hall.clock())


@pytest.mark.parametrize(
    "url", ["ftp://x.example/", "https://", "https://u:p@x.example/", "http://x.example/"]
)
async def test_addresses_that_are_none_are_refused_at_once(pool, database, url):
    hall = Hall(pool, database, delivery=DeliverySettings(alert_signing_secret=SECRET))

    with pytest.raises(UrlInvalid):
        await hall.targets.create("x", {"kind": "webhook", "url": url}, Severity.INFO, by="test")


@pytest.fixture
async def post(pool, database, tmp_path):
    async with SmtpReceiver(folder=tmp_path).listening() as server:
        settings = MailSettings(
            smtp_host="localhost",
            smtp_port=server.port,
            smtp_username="iot",
            smtp_password=SecretStr("secret"),
            smtp_from="alerts@hall.example",
            smtp_ca_file=server.ca_file,
        )
        yield server, Hall(pool, database, mail=settings)


async def mail_target(hall):
    channel = {"kind": "mail", "addresses": ["ada@example.net", "bob@example.net"]}
    return (await hall.targets.create("mail", channel, Severity.INFO, by="test"))[0]


async def test_a_mail_goes_over_tls_with_a_login(post):
    server, hall = post
    target = await mail_target(hall)
    await fire(hall, target, name="zu heiß\r\nBcc: eve@example.net".replace("\r\n", " "))
    await hall.courier.deliver_due()
    envelope, text = server.mails[0]

    assert server.logins == [["iot", "secret"]]
    assert [line.split(":")[1].split(">")[0] for line in envelope[1:]] == [
        "<ada@example.net",
        "<bob@example.net",
    ]
    assert "Message-ID: <" in text
    assert "value: 40.0" in text
    assert await states(hall) == ["delivered"]
    with pytest.raises(NoSecret):
        await hall.targets.rotate_secret(target.id)
    await hall.sink.close()


@pytest.mark.parametrize(("answer", "state"), [("451 later", "waiting"), ("554 never", "dead")])
async def test_a_mail_server_says_whether_to_come_again(post, answer, state):
    server, hall = post
    server.answer = answer
    await fire(hall, await mail_target(hall))
    await hall.courier.deliver_due()

    assert await states(hall) == [state]
    await hall.sink.close()


async def test_a_mail_server_without_tls_gets_nothing(pool, database):
    async with SmtpReceiver().listening(tls=False) as server:
        hall = Hall(pool, database, mail=MailSettings(smtp_host="127.0.0.1", smtp_port=server.port))
        tested = await hall.targets.test((await mail_target(hall)).id)

    assert (tested.state, server.mails) == ("dead", [])


async def test_without_a_mail_server_the_test_says_so(hall):
    tested = await hall.targets.test((await mail_target(hall)).id)

    assert tested.last_fault.startswith("alerts.mail_not_configured")
