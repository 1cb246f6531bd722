"""Replays go through the real broker: a letter counts only after its PUBACK."""

import asyncio

from pydantic import SecretStr

from iotistic.entrypoints.api import BrokerPublisher
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.telemetry.dead_letters.repository import DeadLetterRepository
from iotistic.telemetry.dead_letters.schemas import Selection
from iotistic.telemetry.dead_letters.service import DeadLetterService


async def test_a_replayed_letter_reaches_subscribers_and_is_marked(broker, pool, store):
    access = broker.server.access
    settings = MqttSettings(
        mqtt_service_port=broker.server.endpoints.service_port,
        mqtt_service_username=access.username,
        mqtt_service_password=SecretStr(access.password),
    )
    await store.dead_letter("resolve.device_unknown", topic=b"tele/replayed", payload=b"\x00\xff")
    publisher = BrokerPublisher(settings)
    running = asyncio.create_task(publisher.run())
    async with connect(settings, client_id="watcher") as watcher:
        await watcher.subscribe("tele/replayed")
        answer = await DeadLetterService(DeadLetterRepository(pool), publisher).replay(Selection(all=True))
        async with asyncio.timeout(5):
            message = await anext(watcher.messages())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (answer.replayed, message.payload) == (1, b"\x00\xff")
    assert await pool.fetchval("SELECT count(*) FROM dead_letters WHERE replayed_at IS NOT NULL") == 1
