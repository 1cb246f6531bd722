"""The agent's link on a real Mosquitto: mutual TLS, rights, refusals, outages, another broker."""

import asyncio
import json
import sys
from dataclasses import replace

import pytest
from tests.integration.agent.agent_broker import TOPIC, UUID, address, agent_place, until
from tests.integration.agent.tollgate import Tollgate

from iotistic.agent.link.announcements import Announcements, Concerned
from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import (
    BrokerUnusable,
    CloudUnavailable,
    MqttOffline,
    MqttPublishRefused,
    MqttUnanswered,
    MqttUnheard,
    MqttUnsendable,
)
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.link.telling_mqtt import MqttReports

OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
T = Purpose.TELEMETRY
_FOREIGN = (
    "import sys, iotistic.agent.link.mqtt, iotistic.agent.link.dispatch, iotistic.agent.link.mqtt_settings,"
    " iotistic.agent.link.announcements\n"
    "print(sorted({'msgspec', 'numpy', 'aiomqtt', 'paho', 'uvloop', 'asyncpg'} & set(sys.modules)))"
)


@pytest.fixture
async def place(tmp_path):
    async with agent_place(tmp_path) as found:
        yield found


async def test_the_link_needs_none_of_the_clouds_libraries():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FOREIGN, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()

    assert said.decode().strip() == "[]"


async def test_what_is_published_arrives_with_its_correlation_data(place):
    listener = place.listener("iot/#")
    async with place.online() as link:
        await link.publish(TOPIC, b"21", T, correlation=b"\0S7:9")
    message = await asyncio.to_thread(listener.receive)

    assert (message.topic.decode(), message.payload) == (TOPIC, b"21")
    assert message.correlation == b"\0S7:9"


async def test_messages_are_heard_by_whom_they_concern(place):
    heard, came = [], []
    async with place.link() as link:
        link.watch(came.append)
        link.on(f"iot/device/{UUID}/jobs/+", lambda topic, payload: heard.append((topic[-4:], payload)))
        await until(lambda: link.is_online)
        link.on(f"iot/device/{UUID}/state/notify", lambda topic, payload: heard.append(("new", payload)))
        await until(lambda: came == [True, False, True])
        await asyncio.to_thread(place.say, f"iot/device/{UUID}/jobs/next", b"1")
        await asyncio.to_thread(place.say, f"iot/device/{UUID}/state/notify", b"2")
        await until(lambda: len(heard) == 2)

    assert heard == [("next", b"1"), ("new", b"2")]


async def test_what_the_broker_refuses_says_why_and_the_link_goes_on(place):
    place.listener("iot/#")
    async with place.online() as link:
        with pytest.raises(MqttPublishRefused, match="not_authorized"):
            await link.publish(f"iot/device/{OTHER}/sensor/plc", b"not mine", T)
        with pytest.raises(MqttUnsendable):
            await link.publish("iot/device/+/sensor/plc", b"", T)
        with pytest.raises(MqttUnsendable, match="1048576"):
            await link.publish(TOPIC, bytes(1_048_576), T)
        await link.publish(TOPIC, bytes(1_048_000), T)
        assert link.is_online


async def test_what_nobody_subscribes_to_counts_as_lost(place):
    async with place.online() as link:
        with pytest.raises(MqttUnheard):
            await link.publish(TOPIC, b"21", T)


async def test_offline_a_publish_waits_so_long_and_no_longer(place):
    listener = place.listener("iot/#")
    await place.kill()
    async with place.link() as link:
        with pytest.raises(MqttOffline):
            await link.publish(TOPIC, b"21", T, within_s=0.1)
        with pytest.raises(MqttOffline):
            await link.publish(TOPIC, b"22", T, qos=0)
        waiting = link.send(TOPIC, b"23", T)
        await place.broker.server.start()
        await waiting
        listener = place.broker.service("listener", clean_start=False, session_expiry_s=60)
        arrived = await asyncio.to_thread(listener.receive)

    assert arrived.payload == b"23"


async def test_a_full_link_says_so(place):
    place.address = None
    async with place.link(most_waiting=3) as link:
        waiting = [link.send(TOPIC, b"1", T) for _ in range(3)]
        with pytest.raises(MqttOffline):
            await link.publish(TOPIC, b"1", T)
        waiting[0].cancel()
        await asyncio.sleep(0)
        again = link.send(TOPIC, b"1", T)
        await asyncio.sleep(0)

        assert not again.done()


async def test_messages_outlive_a_broker_that_is_killed_under_load_in_their_order(place):
    seen = []

    def receive(client):
        try:
            while len(seen) < 10_000:
                seen.append(int(client.receive().payload))
        except (TimeoutError, ConnectionError):
            return

    async with place.online() as link:
        first = asyncio.create_task(asyncio.to_thread(receive, place.listener("iot/#")))
        answers = [link.send(TOPIC, b"%d" % number, T) for number in range(600)]
        await until(lambda: sum(answer.done() for answer in answers) > 50)
        await place.kill()
        answers += [link.send(TOPIC, b"%d" % number, T) for number in range(600, 900)]
        await first
        acknowledged = {number for number, answer in enumerate(answers) if answer.done()}
        late = len(seen)
        await place.broker.server.start()
        await until(lambda: all(answer.done() for answer in answers))
        again = place.broker.service("listener", clean_start=False, session_expiry_s=60)
        await asyncio.to_thread(receive, again)

    assert not any(answer.exception() for answer in answers)
    assert set(seen) >= set(range(900)) - acknowledged  # what it acknowledged, a killed broker may forget
    assert seen[late:] == sorted(set(range(900)) - acknowledged)


async def test_a_device_that_moves_to_another_broker_takes_along_what_waits(place, tmp_path):
    (other := tmp_path / "other").mkdir(mode=0o711)
    async with agent_place(other) as second, place.link() as link:
        listener = second.listener("iot/#")
        came = []
        link.watch(came.append)
        await until(lambda: link.is_online)
        link.renew()  # nothing changed
        await asyncio.sleep(0.1)
        await place.kill()
        await until(lambda: not link.is_online)
        waiting = link.send(TOPIC, b"1", T)
        place.address = second.address
        link.renew()
        await waiting
        arrived = await asyncio.to_thread(listener.receive)

    assert arrived.payload == b"1"
    assert came == [True, False, True, False]


async def test_a_broker_that_another_authority_vouches_for_is_spoken_to_only_when_told(place, tmp_path):
    from broker_fixtures import ThrowawayAuthority

    own = place.address
    foreign = ThrowawayAuthority(tmp_path / "foreign", cn="Foreign CA").certificate.read_text()
    place.address = replace(own, ca_pem=foreign)
    async with place.link() as link:
        await asyncio.sleep(0.3)
        before = link.is_online
        place.address = replace(own, ca_pem="", verify=False)
        link.renew()
        await until(lambda: link.is_online)

    assert not before


async def test_a_connection_that_went_deaf_is_given_up_once_an_answer_is_due(place):
    place.listener("iot/#")
    async with Tollgate(place.address.port).open() as gate:
        place.address = replace(place.address, port=gate.port)
        async with place.online() as link:
            gate.is_deaf = True
            with pytest.raises(MqttUnanswered):
                await link.publish(TOPIC, b"1", T, within_s=0.2)
            before = link.is_online
            gate.is_deaf = False
            await link.publish(TOPIC, b"2", T)

    assert not before
    assert gate.tolls.connections == 2


async def test_a_wrong_password_is_not_tried_over_and_over(place):
    access = place.broker.server.access
    plain = replace(
        place.address,
        host=access.host,
        port=access.port,
        tls=False,
        username=access.username,
        identity_pem="",
    )
    place.address = replace(plain, password="wrong")
    async with place.link() as link:
        await until(lambda: link._failures == 1)
        await asyncio.sleep(0.5)
        failures = link._failures
        place.address = replace(plain, password=access.password)
        link.renew()
        await until(lambda: link.is_online)

    assert failures == 1


async def test_what_cannot_be_a_broker_is_said_and_the_link_waits_for_another():
    found = [BrokerUnusable("no host")]

    def find():
        if found:
            raise found[0]

    link = MqttLink(find)
    task = asyncio.create_task(link.run())
    await asyncio.sleep(0.05)
    found.clear()
    link.renew()
    await asyncio.sleep(0.05)

    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_bytes_are_counted_by_what_they_are_for_and_none_is_missed(place):
    place.listener("iot/#")
    async with place.online() as link:
        await link.publish(TOPIC, bytes(1000), T)
        await link.publish(f"iot/device/{UUID}/state", bytes(500), Purpose.METRICS)
        traffic = link._client.traffic
        link._tolls.settle()

        assert 1000 + len(TOPIC) < link.budget.sent[T] < 1000 + len(TOPIC) + 12
        assert 500 < link.budget.sent[Purpose.METRICS] < 600
        assert link.budget.received[T] == 4
        assert link.budget.total == traffic.sent + traffic.received


class Http:
    """Takes reports when it is told to."""

    def __init__(self):
        self.reports, self.away = [], False

    async def report(self, fields, purpose=Purpose.CONTROL):
        if self.away:
            raise CloudUnavailable
        self.reports.append((dict(fields), purpose))


async def test_reports_go_over_mqtt_first_and_over_http_when_nobody_listens_or_it_is_away(place):
    http = Http()
    async with place.online() as link:
        now = [0.0]
        reports = MqttReports(link, http, UUID, clock=lambda: now[0], within_s=2)
        await reports.report({"version": 1})
        lost = [reports.may_be_lost()]
        listener = place.listener("iot/device/+/state")
        await reports.report({"version": 2})  # the broker is not asked again at once
        now[0] = 16.0
        await reports.report({"version": 3}, Purpose.METRICS)
        message = await asyncio.to_thread(listener.receive)
        lost.append(reports.may_be_lost())
        await place.kill()
        await until(lambda: not link.is_online)
        now[0] = 60.0
        lost.append(reports.may_be_lost())
        await reports.report({"version": 4})
        http.away = True
        with pytest.raises(CloudUnavailable):
            await reports.report({"version": 5})

    assert json.loads(message.payload) == {UUID: {"version": 3}}
    assert [fields["version"] for fields, _ in http.reports] == [1, 2, 4]
    assert lost == [
        False,
        True,
        False,
    ]  # HTTP answers once a report is stored, and a minute later it is saved


async def test_announcements_reach_whom_they_concern_and_rubbish_nobody(place):
    heard, asked = [], []
    concerned = Concerned(
        lambda: asked.append(1),
        etag=lambda: "known",
        update=lambda document: heard.append(("update", document)),
        job=lambda document: heard.append(("job", document)),
        rotate_key=lambda document: heard.append(("key", document)),
    )
    update = f"iot/device/{UUID}/agent/update"
    await asyncio.to_thread(place.say, update, {"version": "9"}, retain=True)
    async with place.link() as link:
        Announcements(link, UUID, concerned)
        await until(lambda: heard == [("update", {"version": "9"})])
        for topic, document in (
            (f"iot/device/{UUID}/jobs/notify-next", {"execution": {"jobId": "1"}}),
            (f"device/{UUID}/config/api-key-rotation", {"reason": "age"}),
            (f"iot/device/{UUID}/state/notify", b"\xff"),
            (f"iot/device/{UUID}/state/notify", b"[" * 9999),
            (f"iot/device/{UUID}/state/notify", {"version": 3, "etag": "known"}),
            (f"iot/device/{UUID}/state/notify", {"version": 4, "etag": "new"}),
        ):
            await asyncio.to_thread(place.say, topic, document)
        await until(lambda: asked)
        await asyncio.sleep(0.1)

    assert heard[1:] == [("job", {"execution": {"jobId": "1"}}), ("key", {"reason": "age"})]
    assert asked == [1]


async def test_the_target_is_asked_for_when_the_connection_came_and_went(place):
    asked, back, gone = [], [], []
    async with place.link() as link:
        concerned = Concerned(
            lambda: asked.append(1),
            reconnected=lambda: back.append(1),
            disconnected=lambda: gone.append(1),
        )
        announcements = Announcements(link, UUID, concerned, spread_s=0)
        task = asyncio.create_task(announcements.run())
        await until(lambda: len(asked) == 1)
        await place.kill()
        await until(lambda: len(asked) == 2)
        await place.broker.server.start()
        await until(lambda: len(asked) == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert back == [1, 1]
    assert gone[0] == 1


async def test_what_was_announced_while_the_device_was_away_is_heard_when_it_is_back(place):
    heard = []
    async with place.link() as link:
        link.on(f"iot/device/{UUID}/jobs/notify-next", lambda _, payload: heard.append(payload))
        await until(lambda: link.is_online)
        link._client.cut()
        await asyncio.to_thread(place.say, f"iot/device/{UUID}/jobs/notify-next", b"{}")
        await until(lambda: heard)
    assert address(place.broker).session_s > 0
