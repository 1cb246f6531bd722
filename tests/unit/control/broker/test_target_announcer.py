"""Announcements of new targets: nobody waits for them, and nothing hangs on them."""

import asyncio
import json

import pytest

from iotistic.control.broker.announcing import TargetAnnouncer, notify_topic
from iotistic.kernel.mqtt.errors import BrokerUnavailable, PublishDenied

UUID = "6d0b0f0e-4c5b-4e3a-9d0f-0a1b2c3d4e5f"


class Broker:
    def __init__(self):
        self.said, self.errors, self.heard = [], [], asyncio.Event()

    async def publish(self, topic, payload):
        if self.errors:
            raise self.errors.pop()
        self.said.append((topic, json.loads(payload)))
        self.heard.set()


@pytest.fixture
async def broker():
    return Broker()


async def deliver(announcer, broker):
    running = asyncio.create_task(announcer.run())
    async with asyncio.timeout(10):
        await broker.heard.wait()
    announcer.stop()
    await running


async def test_a_device_is_told_where_it_listens(broker):
    announcer = TargetAnnouncer(broker)
    await announcer.announce(UUID, 7, '"abc"')
    await deliver(announcer, broker)

    assert broker.said == [(f"iot/device/{UUID}/state/notify", {"version": 7, "etag": '"abc"'})]


async def test_a_device_that_waits_is_told_the_newest_only(broker):
    announcer = TargetAnnouncer(broker)
    for version in range(5):
        await announcer.announce(UUID, version, str(version))
    await deliver(announcer, broker)

    assert [payload["version"] for _topic, payload in broker.said] == [4]


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), TimeoutError(), ConnectionResetError()])
async def test_what_the_broker_missed_is_told_again(broker, error):
    broker.errors = [error]
    announcer = TargetAnnouncer(broker)
    await announcer.announce(UUID, 1, "x")
    await deliver(announcer, broker)

    assert [topic for topic, _payload in broker.said] == [notify_topic(UUID)]


async def test_what_the_broker_refuses_is_not_told_again(broker):
    broker.errors = [PublishDenied("no")]
    announcer = TargetAnnouncer(broker)
    await announcer.announce(UUID, 1, "x")
    running = asyncio.create_task(announcer.run())
    await announcer.announce("another", 1, "x")
    async with asyncio.timeout(10):
        await broker.heard.wait()
    announcer.stop()
    await running

    assert announcer.waiting == 0
    assert len(broker.said) == 1


async def test_a_broker_that_is_away_for_long_fills_no_memory(broker):
    announcer = TargetAnnouncer(broker, most_waiting=10)
    for number in range(100):
        await announcer.announce(f"device-{number}", 1, "x")

    assert announcer.waiting == 10


async def test_announcing_does_not_wait_for_the_broker(broker):
    announcer = TargetAnnouncer(broker)
    async with asyncio.timeout(0.5):
        await announcer.announce(UUID, 1, "x")

    assert announcer.waiting == 1
