"""Ingest is killed again and again under a stamped load: the ledger proves that nothing is lost or double."""

import asyncio
import os
import sys
import time

import pytest

from iotistic.contracts.delivery import stamp_property
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.process import pick_port

KILLS = int(os.environ.get("FAULT_KILLS", "3"))
EPOCH = 7
STARTED_US = time.time_ns() // 1000
SENDERS = ("pump", "fan", "door")
PER_TURN = 1500
LEDGER = (
    "SELECT count(*)::int AS senders, sum(highest)::int AS sent, sum(stored)::int AS stored,"
    " sum(messages)::int AS messages FROM ledger_epochs"
)


class Quiet:
    """Counts what the broker acknowledged."""

    def __init__(self):
        self.acknowledged = 0

    def online(self, client):
        """Nothing to do."""

    def offline(self, client, cause, *, lost):
        """It comes back by itself."""

    def message(self, client, message):
        """It subscribes to nothing."""

    def settled(self, client, message, reason):
        self.acknowledged += reason < 0x80


async def eventually(condition, *, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


@pytest.fixture
async def publisher(own_broker):
    access = own_broker.server.access
    counts = Quiet()
    client = LeanClient(
        LinkOptions(
            access.host, access.port, client_id="device", username=access.username, password=access.password
        ),
        counts,
        outbox_limit=1_000_000,
    )
    client.start()
    yield client, counts
    await client.stop(within_s=1)


@pytest.fixture
def start_ingest(own_broker, database, tmp_path):
    access = own_broker.server.access
    environment = (
        os.environ
        | database.environment()
        | {
            "IOTISTIC_HOME": str(tmp_path),
            "MQTT_SERVICE_HOST": access.host,
            "MQTT_SERVICE_PORT": str(access.port),
            "MQTT_SERVICE_USERNAME": access.username,
            "MQTT_SERVICE_PASSWORD": access.password,
            "METRICS_PORT": str(pick_port(0)),
            "INGEST_BATCH_MESSAGES": "300",
        }
    )

    async def start():
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic", "ingest"), env=environment, stderr=asyncio.subprocess.DEVNULL
        )

    return start


def publish(client, turn):
    for number in range(turn * PER_TURN + 1, (turn + 1) * PER_TURN + 1):
        body = b'{"value": %d, "timestamp": %d}' % (number, STARTED_US + number)
        for sender in SENDERS:
            stamp = (stamp_property(EPOCH, number),)
            assert client.publish(f"sensor/{sender}/t".encode(), body, user_properties=stamp)


async def test_whenever_ingest_is_killed_every_message_is_stored_once_and_the_ledger_says_so(
    publisher, start_ingest, pool
):
    client, counts = publisher

    async def rows(at_least):
        return await pool.fetchval("SELECT count(*) FROM decoded_data") >= at_least

    async def heard():
        client.publish(b"sensor/probe/t", b'{"value": 1, "timestamp": %d}' % STARTED_US)
        return await rows(1)

    child = await start_ingest()
    await eventually(heard)
    probes = counts.acknowledged + client.unacknowledged
    for turn in range(KILLS):
        publish(client, turn)
        await eventually(lambda turn=turn: rows(1 + turn * PER_TURN * len(SENDERS) + 500))
        child.kill()
        await child.wait()
        child = await start_ingest()
    sent = KILLS * PER_TURN * len(SENDERS)
    await eventually(lambda: rows(1 + sent))
    child.terminate()
    await asyncio.wait_for(child.wait(), 20)
    while await pool.fetchval("SELECT ledger_fold(50)"):
        pass
    told = await pool.fetchrow(LEDGER)

    assert counts.acknowledged == sent + probes
    assert await pool.fetchval("SELECT count(*) FROM decoded_data") == sent + 1
    assert (told["senders"], told["sent"], told["stored"]) == (len(SENDERS), sent, sent)
    assert told["messages"] >= sent
