"""How long the broker takes is known while it still takes, and costs nobody anything when it cannot be asked."""

import asyncio

import pytest

from iotistic.kernel.mqtt.errors import BrokerUnavailable, PublishDenied
from iotistic.telemetry.catchup.probing import BrokerProbe


class Broker:
    """Acknowledges when it is told to."""

    def __init__(self, failure=None):
        self.now = 10.0
        self.failure = failure
        self.asked = asyncio.Event()
        self.acknowledge = asyncio.Event()

    async def publish(self, topic, payload):
        self.asked.set()
        await self.acknowledge.wait()
        if self.failure:
            raise self.failure


async def settle(times=5):
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_message_that_is_still_under_way_tells_already():
    broker = Broker()
    probe = BrokerProbe(broker, lambda: broker.now)
    running = asyncio.create_task(probe.run())
    await broker.asked.wait()
    broker.now += 2
    assert probe.delay_s == 2
    broker.acknowledge.set()
    await settle()
    broker.now += 100

    assert probe.delay_s == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("failure", [BrokerUnavailable("away"), PublishDenied(topic="x", reason="no")])
async def test_a_broker_that_cannot_be_asked_counts_as_quick(failure):
    broker = Broker(failure)
    probe = BrokerProbe(broker, lambda: broker.now)
    running = asyncio.create_task(probe.run())
    broker.acknowledge.set()
    await broker.asked.wait()
    await settle()

    assert probe.delay_s == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
