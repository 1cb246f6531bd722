"""The bulk subscriber against a broker that says exactly what a test wants: breaks, refusals, silence."""

import asyncio
import contextlib
import struct

import numpy as np
import pytest

from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.deliveries import Receipt
from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.kernel.mqtt.packets import encode_publish

CONNACK = b"\x20\x03\x00\x00\x00"
SUBACK = b"\x90\x04\x00\x01\x00\x01"
UNSUBACK = b"\xb0\x04\x00\x01\x00\x00"
NOT_AUTHORIZED = b"\x90\x04\x00\x01\x00\x87"
PINGREQ = b"\xc0\x00"
PUBACK = 0x40
WITHIN_S = 10


def published(number, packet_id):
    return encode_publish(b"sensor/a/b", b"%d" % number, packet_id=packet_id, qos=1)


class ScriptedBroker:
    """Answers each connection with the next script, and keeps what it hears on each."""

    def __init__(self, *scripts):
        self._scripts = list(scripts)
        self._heard_more = asyncio.Condition()
        self.heard = []
        self.writers = []

    async def serve(self, reader, writer):
        number = len(self.writers)
        self.writers.append(writer)
        self.heard.append(b"")
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while octets := await reader.read(65_536):
                if not self.heard[number]:
                    writer.write(self._scripts[number])
                self.heard[number] += octets
                async with self._heard_more:
                    self._heard_more.notify_all()

    async def close(self):
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def until(self, condition):
        async with asyncio.timeout(WITHIN_S), self._heard_more:
            await self._heard_more.wait_for(condition)


@pytest.fixture
async def connected():
    """Return a function: scripts and options to (broker, subscriber)."""
    async with contextlib.AsyncExitStack() as closing:

        async def make(*scripts, **options):
            broker = ScriptedBroker(*scripts)
            server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
            closing.push_async_callback(server.wait_closed)
            closing.push_async_callback(broker.close)
            closing.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            options = {"linger_s": 0.0, "keepalive_s": 60, "filters": ("sensor/#",)} | options
            subscriber = BulkSubscriber(BulkOptions(host="127.0.0.1", port=port, client_id="w", **options))
            closing.push_async_callback(subscriber.close)
            await subscriber.connect()
            return broker, subscriber

        yield make


def payloads(delivery):
    return [payload for part in delivery.parts for payload in part.payloads()]


async def received(subscriber):
    async with asyncio.timeout(WITHIN_S):
        return await subscriber.receive()


async def test_only_what_was_acknowledged_is(connected):
    broker, subscriber = await connected(CONNACK + SUBACK + published(1, 258) + published(2, 3))

    delivery = await received(subscriber)
    assert payloads(delivery) == [b"1", b"2"]
    await broker.until(lambda: broker.heard[0].endswith(b"sensor/#\x21"))
    subscriber.acknowledge(delivery.receipt)

    await broker.until(lambda: broker.heard[0].endswith(b"\x40\x02\x01\x02\x40\x02\x00\x03"))


async def test_a_delivery_of_an_ended_connection_is_never_acknowledged_on_the_next(connected):
    broker, subscriber = await connected(
        CONNACK + SUBACK + published(1, 7), CONNACK + SUBACK + published(2, 7)
    )
    old = await received(subscriber)
    broker.writers[0].close()
    with pytest.raises(BrokerUnavailable):
        await received(subscriber)
    subscriber.acknowledge(old.receipt)
    await subscriber.connect()
    new = await received(subscriber)
    subscriber.acknowledge(old.receipt)
    await subscriber.close()
    await broker.until(lambda: broker.heard[1].endswith(b"\xe0\x00"))

    assert (payloads(old), payloads(new)) == ([b"1"], [b"2"])
    assert bytes([PUBACK, 2, 0, 7]) not in broker.heard[0] + broker.heard[1]


async def test_what_arrived_before_a_break_is_delivered_before_the_break(connected):
    broker, subscriber = await connected(CONNACK + SUBACK + published(1, 1) + published(2, 2)[:-1])
    await broker.until(lambda: broker.heard[0])
    broker.writers[0].close()

    assert payloads(await received(subscriber)) == [b"1"]
    with pytest.raises(BrokerUnavailable, match="closed"):
        await received(subscriber)


async def test_it_counts_as_connected_once_the_broker_took_the_subscription(connected):
    broker, subscriber = await connected(CONNACK)
    assert not subscriber.connected

    broker.writers[0].write(SUBACK + published(1, 1))
    await received(subscriber)

    assert subscriber.connected


async def test_a_refused_subscription_is_told(connected):
    _, subscriber = await connected(CONNACK + NOT_AUTHORIZED)

    with pytest.raises(BrokerRefused, match="sensor/#"):
        await received(subscriber)
    assert not subscriber.connected


async def test_who_does_not_read_still_keeps_the_connection_alive(connected):
    broker, subscriber = await connected(CONNACK + SUBACK, keepalive_s=1)
    room = asyncio.Event()

    pausing = asyncio.create_task(subscriber.pause(room))
    await broker.until(lambda: broker.heard[0].endswith(PINGREQ * 2))
    room.set()

    await asyncio.wait_for(pausing, WITHIN_S)


async def test_a_silent_broker_is_given_up(connected):
    _, subscriber = await connected(CONNACK + SUBACK, keepalive_s=1)

    with pytest.raises(BrokerUnavailable, match="has not been heard"):
        await received(subscriber)


async def test_without_subscribing_the_subscriptions_are_ended_and_the_rest_still_comes(connected):
    broker, subscriber = await connected(
        CONNACK + UNSUBACK + published(1, 1), filters=(), ended_filters=("sensor/#",)
    )
    delivery = await received(subscriber)
    subscriber.acknowledge(delivery.receipt)
    await subscriber.end_session()
    await broker.until(lambda: broker.heard[0].endswith(b"\x11\x00\x00\x00\x00"))

    assert b"\xa2\x0d\x00\x02\x00\x00\x08sensor/#" in broker.heard[0]
    assert b"\x82" not in broker.heard[0]


async def test_a_packet_that_breaks_the_protocol_ends_the_connection_not_the_process(connected):
    _, subscriber = await connected(CONNACK + SUBACK + published(1, 1) + b"\x32\x03\x00\x09a" + bytes(3))

    with pytest.raises(BrokerUnavailable, match="protocol"):
        await received(subscriber)


@pytest.mark.parametrize("count", [0, 1, 65_535])
def test_a_receipt_is_one_puback_for_each_packet_id(count):
    ids = np.arange(1, count + 1, dtype=np.uint16)

    acks = Receipt(ids, 1, count).pubacks()

    assert acks == b"".join(struct.pack(">BBH", PUBACK, 2, one) for one in ids.tolist())
