"""Devices whose keys are old are told so, and both keys are good until the grace period really ends."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from iotistic.contracts.provisioning.rotation import read_notice
from iotistic.control.devices.ageing import KeyAgeing
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.model import DeviceKeyUnknown, NewDevice
from iotistic.control.devices.repository import add
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.mqtt.errors import PublishDenied


class Broker:
    """Remembers what was said; away, or refusing some, when told to."""

    def __init__(self):
        self.said, self.is_away, self.refused = [], False, ""

    async def publish(self, topic, payload, *, expiry_s=None):
        if self.is_away:
            raise Unavailable("no broker")
        if self.refused and self.refused in topic:
            raise PublishDenied
        self.said.append((topic, payload, expiry_s))


class Fleet:
    """Devices with keys, and a clock."""

    def __init__(self, pool):
        self.pool, self.now, self.broker = pool, datetime(2026, 3, 2, tzinfo=UTC), Broker()
        self.devices = DeviceService(pool, DeviceKeySettings(), clock=self.clock)
        self.ageing = KeyAgeing(pool, self.broker, clock=self.clock)

    def clock(self):
        return self.now

    async def device(self):
        uuid, key = str(uuid4()), make_api_key()
        async with self.pool.acquire() as db, db.transaction():
            await add(db, NewDevice(uuid=uuid, name="press", type="gateway", fleet_id="hall"), self.now)
            await self.devices.register_key(db, uuid, key)
        return uuid, key

    async def look(self, **by):
        self.now += timedelta(**by)
        self.broker.said.clear()
        return await self.ageing.look()


@pytest.fixture
def fleet(pool):
    return Fleet(pool)


async def test_rotation_has_a_real_grace_period(fleet):
    uuid, old = await fleet.device()
    young = await fleet.look(days=86)
    due = await fleet.look(days=2)
    (topic, payload, expiry_s) = fleet.broker.said[0]
    new = (await fleet.devices.rotate(uuid)).api_key
    rotated = await fleet.look(days=6, hours=23)
    for key in (old, new):
        await fleet.devices.recognise(uuid, key)
    ended = await fleet.look(hours=2)
    await fleet.devices.recognise(uuid, new)

    assert (young["told"], due["told"], rotated["told"]) == (0, 1, 0)
    assert (topic, expiry_s) == (f"device/{uuid}/config/api-key-rotation", 3600)
    assert read_notice(payload) is None  # time to ask for one; it holds no key
    assert (rotated["in_grace"], ended["in_grace"]) == (1, 0)
    with pytest.raises(DeviceKeyUnknown):
        await fleet.devices.recognise(uuid, old)


async def test_a_device_that_does_nothing_is_told_again_and_not_locked_out(fleet):
    uuid, key = await fleet.device()
    first = await fleet.look(days=91)
    again = await fleet.look(days=400)
    await fleet.devices.recognise(uuid, key)

    assert (first["told"], first["overdue"], again["told"]) == (1, 1, 1)


async def test_devices_that_are_switched_off_are_left_alone_and_all_others_told(fleet):
    told = {(await fleet.device())[0] for _ in range(40)}
    off, _ = await fleet.device()
    await fleet.pool.execute("UPDATE fleet_devices SET is_active = false WHERE uuid = $1::text::uuid", off)
    refused, _ = await fleet.device()
    fleet.broker.refused = refused
    done = await fleet.look(days=100)

    assert {topic.split("/")[1] for topic, _, _ in fleet.broker.said} == told
    assert (done["told"], done["denied"]) == (40, 1)
    assert all(json.loads(payload)["reason"] == "age" for _, payload, _ in fleet.broker.said)


async def test_a_broker_that_is_away_fails_the_task_so_that_it_is_tried_again(fleet):
    await fleet.device()
    fleet.broker.is_away = True

    with pytest.raises(Unavailable):
        await fleet.look(days=100)


async def test_keys_that_ended_a_year_ago_are_forgotten(fleet):
    uuid, _ = await fleet.device()
    await fleet.devices.rotate(uuid)
    kept = await fleet.look(days=365)
    gone = await fleet.look(days=8)

    assert (kept["forgotten"], gone["forgotten"]) == (0, 1)
    assert len(await fleet.devices.keys(uuid)) == 1
