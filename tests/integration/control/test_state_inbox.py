"""Reports over a real Mosquitto: acknowledged by us only once they are stored."""

import asyncio
import contextlib
import json
import uuid as uuids

import pytest
from device_cloud import build

from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.repository import add
from iotistic.control.devices.service import utc_now
from iotistic.control.states.inbox import FILTERS, StateInbox
from iotistic.control.states.model import NoReport
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions


class Away:
    """States whose database is away as long as somebody says so."""

    def __init__(self, states):
        self.states, self.is_away, self.tried = states, False, 0

    async def report(self, uuid, fields):
        self.tried += 1
        if self.is_away:
            raise Unavailable("the database is away")
        await self.states.report(uuid, fields)


@pytest.fixture
def cloud(pool):
    return build(pool)


@pytest.fixture
async def device(pool):
    uuid = str(uuids.uuid4())
    async with pool.acquire() as db, db.transaction():
        await add(db, NewDevice(uuid=uuid, name="press 7", type="gateway", fleet_id="hall-1"), utc_now())
    return uuid


@pytest.fixture
def inbox(pool, cloud, own_broker):
    access = own_broker.server.access
    options = BulkOptions(
        host=access.host,
        port=access.port,
        client_id="states",
        filters=FILTERS,
        username=access.username,
        password=access.password,
    )

    @contextlib.asynccontextmanager
    async def running(reports=None):
        reading = StateInbox(pool, BulkSubscriber(options), reports or cloud.states)
        task = asyncio.create_task(reading.run())
        try:
            yield reading, task
        finally:
            reading.stop()
            async with asyncio.timeout(10):
                await asyncio.gather(task, return_exceptions=True)

    return running


@pytest.fixture
def publish(own_broker):
    client = own_broker.service("devices")

    async def send(uuid, payload, topic="iot/device/{}/state"):
        body = payload if isinstance(payload, bytes) else json.dumps({uuid: payload}).encode()
        return await asyncio.to_thread(client.publish, topic.format(uuid), body)

    return send


async def until(ask):
    async with asyncio.timeout(20):
        while not (found := await ask()):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)
    return found


def said(cloud, uuid, **wanted):
    async def ask():
        with contextlib.suppress(NoReport):
            fields = (await cloud.states.current(uuid)).fields
            return wanted.items() <= fields.items()

    return ask


async def heard(publish, uuid):
    """Wait until somebody hears what a device says."""
    await until(lambda: _is_heard(publish, uuid))


async def _is_heard(publish, uuid):
    return await publish(uuid, {"probe": True}) == 0


async def test_what_a_device_publishes_is_stored_in_order(inbox, cloud, device, publish):
    async with inbox():
        await heard(publish, device)
        for number in range(200):
            await publish(device, {"number": number, "odd" if number % 2 else "even": number})

        await until(said(cloud, device, number=199, odd=199, even=198))


async def test_both_names_of_the_topic_are_read_as_one(inbox, cloud, device, publish):
    async with inbox():
        await heard(publish, device)
        for number in range(50):
            await publish(device, {"number": number}, ("state/{}", "iot/device/{}/state")[number % 2])
        await publish(device, {"canonical": True}, "state/{}")
        await publish(device, {"number": "of no device"}, "state/{}/x")

        await until(said(cloud, device, number=49, canonical=True))


async def test_nothing_that_was_acknowledged_is_lost_while_nobody_reads(inbox, cloud, device, publish):
    async with inbox():
        await heard(publish, device)
    await publish(device, {"version": 7})
    async with inbox():
        await until(said(cloud, device, version=7))


async def test_what_could_not_be_stored_comes_again(inbox, cloud, device, publish):
    reports = Away(cloud.states)
    async with inbox(reports):
        await heard(publish, device)
        await until(said(cloud, device, probe=True))
        reports.is_away = True
        await publish(device, {"version": 8})
        tried = reports.tried
        await until(lambda: asyncio.sleep(0, reports.tried > tried))
        reports.is_away = False

        await until(said(cloud, device, version=8))


async def test_a_reader_that_is_killed_is_followed_by_one_that_reads_on(inbox, cloud, device, publish):
    reports = Away(cloud.states)
    async with inbox(reports) as (_, task):
        await heard(publish, device)
        await until(said(cloud, device, probe=True))
        reports.is_away = True
        await publish(device, {"version": 9})
        task.cancel()
    async with inbox():
        await until(said(cloud, device, version=9))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"x": 1}',
        b"\xff",
        b"[" * 100_000,
        json.dumps({"a": {}, "b": {}}).encode(),
    ],
)
async def test_garbage_stops_nothing(inbox, cloud, device, publish, payload):
    async with inbox():
        await heard(publish, device)
        await publish(device, payload)
        await publish(str(uuids.uuid4()), {"nobody": True})
        await publish(device, {"version": 3})

        await until(said(cloud, device, version=3))


async def test_a_device_that_speaks_of_another_is_not_believed(inbox, cloud, device, publish):
    async with inbox():
        await heard(publish, device)
        await until(said(cloud, device, probe=True))
        await publish(str(uuids.uuid4()), json.dumps({device: {"probe": "forged"}}).encode())
        await publish(device, {"version": 4})
        await until(said(cloud, device, version=4))

    assert (await cloud.states.current(device)).fields["probe"] is True


async def test_of_two_processes_one_reads_and_the_other_takes_over(inbox, cloud, device, publish):
    async with inbox() as (first, _):
        await heard(publish, device)
        async with inbox():
            await publish(device, {"version": 5})
            await until(said(cloud, device, version=5))
            first.stop()
            await publish(device, {"version": 6})

            await until(said(cloud, device, version=6))
