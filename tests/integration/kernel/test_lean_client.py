"""The lean client against a real broker: TLS with its own certificate, lost connections, kill -9."""

import asyncio
import os
import random
import signal
import socket
from dataclasses import dataclass, field

import pytest

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.mqtt.lean_model import Backoff
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.reasons import is_failure
from iotistic.kernel.mqtt.tls import TlsIdentities

MAC = "aabbccddee01"
OTHER = "aabbccddee02"
FAST = Backoff(base_s=0.02, longest_s=0.1)


@dataclass
class Diary:
    """Writes down what a client hears."""

    onlines: int = 0
    causes: list[IotisticError] = field(default_factory=list)
    messages: list[Publish] = field(default_factory=list)
    settled_messages: list[tuple[bytes, int]] = field(default_factory=list)

    def online(self, client: LeanClient) -> None:
        self.onlines += 1

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        self.causes.append(cause)

    def message(self, client: LeanClient, message: Publish) -> None:
        self.messages.append(message)

    def settled(self, client: LeanClient, message: Outgoing, reason: int) -> None:
        self.settled_messages.append((message.payload, reason))


async def until(seen, *, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not seen():  # noqa: ASYNC110 - what is waited for happens in foreign code
            await asyncio.sleep(0.01)


def device(broker, diary, *, identity, mac=MAC, **options):
    pem = identity.key.read_bytes() + identity.certificate.read_bytes() if identity else None
    link = LinkOptions(
        host="localhost",
        port=broker.server.endpoints.device_port,
        client_id=mac,
        subscriptions=((f"cmnd/f2-{mac}/#", 1),),
        **options,
    )
    return LeanClient(
        link,
        diary,
        tls=TlsIdentities(broker.authority.certificate),
        identity=pem,
        backoff=FAST,
        chance=random.Random(1),
    )


@pytest.fixture
async def started():
    clients = []

    def start(client):
        clients.append(client)
        client.start()
        return client

    yield start
    for client in clients:
        await client.stop(within_s=0)


async def test_a_device_publishes_under_its_certificate_and_hears_commands(broker, started):
    diary = Diary()
    service = broker.service("lean-test")
    service.subscribe("tele/#")
    client = started(device(broker, diary, identity=broker.authority.issue(MAC)))
    await until(lambda: client.is_online)

    client.publish(f"tele/f2-{MAC}/x".encode(), b"21")
    await until(lambda: diary.settled_messages)
    await asyncio.to_thread(service.publish, f"cmnd/f2-{MAC}/go", b"now")
    await until(lambda: diary.messages)

    assert service.receive().payload == b"21"
    assert diary.settled_messages == [(b"21", 0)]
    assert diary.messages[0].payload == b"now"
    assert await client.stop() == 0


async def test_what_the_broker_refuses_is_told_and_not_repeated(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=broker.authority.issue(MAC)))

    client.publish(f"tele/f2-{OTHER}/x".encode(), b"not mine")
    await until(lambda: diary.settled_messages)

    assert diary.settled_messages == [(b"not mine", 0x87)]
    assert client.unacknowledged == 0


async def test_two_devices_of_one_process_keep_their_own_certificates(broker, started):
    tls = TlsIdentities(broker.authority.certificate)
    diary = Diary()
    for mac in (MAC, OTHER):
        identity = broker.authority.issue(mac)
        options = LinkOptions("localhost", broker.server.endpoints.device_port, mac)
        pem = identity.key.read_bytes() + identity.certificate.read_bytes()
        client = started(LeanClient(options, diary, tls=tls, identity=pem))
        client.publish(f"tele/f2-{mac}/x".encode(), mac.encode())
    await until(lambda: len(diary.settled_messages) == 2)

    assert {(payload, is_failure(reason)) for payload, reason in diary.settled_messages} == {
        (MAC.encode(), False),
        (OTHER.encode(), False),
    }


async def test_without_a_certificate_there_is_no_connection_and_the_client_keeps_trying(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=None))
    await until(lambda: len(diary.causes) >= 3)

    assert diary.onlines == 0
    assert not client.is_online


async def test_a_broker_that_another_authority_vouches_for_is_not_spoken_to(broker, started, tmp_path):
    from broker_fixtures import ThrowawayAuthority

    foreign = ThrowawayAuthority(tmp_path / "foreign", cn="Foreign CA")
    options = LinkOptions("localhost", broker.server.endpoints.device_port, MAC)
    diary = Diary()
    started(LeanClient(options, diary, tls=TlsIdentities(foreign.certificate), backoff=FAST))
    await until(lambda: diary.causes)

    assert "certificate verify failed" in str(diary.causes[0]).lower().replace("_", " ")


async def test_a_key_that_does_not_fit_its_certificate_is_told(broker, started):
    one, other = broker.authority.issue(MAC), broker.authority.issue(OTHER)
    diary = Diary()
    options = LinkOptions("localhost", broker.server.endpoints.device_port, MAC)
    pem = one.key.read_bytes() + other.certificate.read_bytes()
    started(
        LeanClient(
            options, diary, tls=TlsIdentities(broker.authority.certificate), identity=pem, backoff=FAST
        )
    )
    await until(lambda: diary.causes)

    assert diary.causes[0].code == "mqtt.identity_invalid"


async def test_nothing_is_forgotten_when_the_broker_is_killed_under_load(own_broker, started):
    diary = Diary()
    client = started(device(own_broker, diary, identity=own_broker.authority.issue(MAC), window=20))
    await until(lambda: client.is_online)
    payloads = [f"{number}".encode() for number in range(900)]

    for payload in payloads[:600]:
        client.publish(f"tele/f2-{MAC}/x".encode(), payload)
    await until(lambda: len(diary.settled_messages) > 50)
    os.kill(own_broker.server.process.pid, signal.SIGKILL)
    await own_broker.server.process.wait()
    acknowledged = {payload for payload, _ in diary.settled_messages}
    for payload in payloads[600:]:
        client.publish(f"tele/f2-{MAC}/x".encode(), payload)
    await until(lambda: diary.causes)
    held = client.unacknowledged
    await own_broker.server.start()
    await asyncio.to_thread(own_broker.service("late", clean_start=False).subscribe, "tele/#")
    await until(lambda: len(diary.settled_messages) == 900, within_s=20)

    assert held == 900 - len(acknowledged) >= 300  # a quick broker has answered for all that came before
    assert [payload for payload, _ in diary.settled_messages] == payloads
    assert diary.onlines == 2


async def test_a_cut_client_hands_back_what_was_under_way_and_connects_again(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=broker.authority.issue(MAC)))
    await until(lambda: client.is_online)
    client.publish(b"tele/f2-" + MAC.encode() + b"/x", b"1")
    client.cut()
    taken = [message.payload for message in client.take_back()]
    await until(lambda: client.is_online)

    assert taken == [b"1"]
    assert [cause.code for cause in diary.causes] == ["mqtt.connection_lost"]
    assert (client.unacknowledged, diary.settled_messages, diary.onlines) == (0, [], 2)


async def test_stopping_waits_for_acknowledgements(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=broker.authority.issue(MAC), window=5))
    await until(lambda: client.is_online)
    for number in range(200):
        client.publish(f"tele/f2-{MAC}/x".encode(), str(number).encode())

    assert await client.stop() == 0
    assert len(diary.settled_messages) == 200


async def test_a_full_outbox_says_so(broker):
    client = LeanClient(LinkOptions("localhost", 1, MAC), Diary(), outbox_limit=2)

    assert [client.publish(b"t", b"") for _ in range(3)] == [True, True, False]


async def test_a_quiet_connection_is_kept_alive(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=broker.authority.issue(MAC), keepalive_s=1))
    await until(lambda: client.is_online)
    # The broker hangs up after one and a half keep-alives of silence.
    given_up_at = asyncio.get_running_loop().time() + 2.5
    await until(lambda: diary.causes or asyncio.get_running_loop().time() > given_up_at)

    assert client.is_online
    assert diary.causes == []


async def test_a_patient_client_pings_late_and_is_still_there(broker, started):
    diary = Diary()
    identity = broker.authority.issue(MAC)
    client = started(device(broker, diary, identity=identity, keepalive_s=1, quiet_share=0.9))
    await until(lambda: client.is_online)
    before = client.traffic.sent
    given_up_at = asyncio.get_running_loop().time() + 3
    await until(lambda: diary.causes or asyncio.get_running_loop().time() > given_up_at)

    assert diary.causes == []
    assert 0 < client.traffic.sent - before < 4 * 40  # three pings, in TLS records


async def test_what_crossed_the_wire_is_counted_both_ways(broker, started):
    diary = Diary()
    client = started(device(broker, diary, identity=broker.authority.issue(MAC)))
    await until(lambda: client.is_online)
    sent, received = client.traffic.sent, client.traffic.received
    client.publish(f"tele/f2-{MAC}/x".encode(), bytes(5000))
    await until(lambda: diary.settled_messages)

    assert sent > 500
    assert received > 500
    assert 5000 < client.traffic.sent - sent < 5200
    assert 0 < client.traffic.received - received < 100


async def test_the_largest_packet_that_the_broker_takes_is_known(broker, started):
    client = started(device(broker, Diary(), identity=broker.authority.issue(MAC)))
    await until(lambda: client.is_online)

    assert client.most_packet_bytes == broker.server.config.limits.max_packet_bytes
    assert client.refused_filters == ()


async def test_a_client_may_be_less_patient_with_its_network_than_the_system(broker, started):
    identity = broker.authority.issue(MAC)
    client = started(device(broker, Diary(), identity=identity, network_patience_s=60))
    await until(lambda: client.is_online)
    connection = client._link._transport.get_extra_info("socket")

    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
