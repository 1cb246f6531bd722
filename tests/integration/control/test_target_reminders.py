"""Devices that do not take what was deployed for them hear of it again; on a real PostgreSQL."""

from datetime import timedelta

import pytest
from device_cloud import Device, build, served

from iotistic.control.states.reminding import TargetReminder

ONE = {"apps": {}, "config": {"logging": {"level": "info"}}}


class Told:
    """Notes what devices are told, as the announcer takes it."""

    def __init__(self):
        self.targets = []

    async def announce(self, uuid, version, etag):
        self.targets.append((uuid, version, etag))


@pytest.fixture
async def cloud(pool):
    async with served(build(pool)) as cloud:
        yield cloud


@pytest.fixture
async def device(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    await cloud.states.set_target(device.uuid, ONE, by="anna")
    await cloud.states.deploy(device.uuid, by="anna")
    return device


async def reminded(cloud, reminder, *minutes):
    """Return how many were told at each of these times, counted from now."""
    told = []
    for minute in minutes:
        cloud.clock.ahead = timedelta(minutes=minute)
        told.append(await reminder.look())
    return told


async def test_who_does_not_report_the_target_is_told_again_ever_more_seldom_for_an_hour(cloud, device):
    told = Told()
    reminder = TargetReminder(cloud.pool, told, clock=cloud.clock)
    counts = await reminded(cloud, reminder, *range(120))

    assert [minute for minute, count in enumerate(counts) if count] == [1, 2, 4, 8, 16, 32]
    assert {(uuid, version) for uuid, version, _ in told.targets} == {(device.uuid, 2)}
    assert told.targets[0][2] == (await device.poll()).headers["ETag"]


async def test_whoever_begins_tells_those_of_the_last_hour_and_nobody_later(cloud, device):
    begins = [TargetReminder(cloud.pool, Told(), clock=cloud.clock) for _ in range(3)]

    assert await reminded(cloud, begins[0], 40) == [1]
    assert await reminded(cloud, begins[1], 59, 59.5) == [1, 0]
    assert await reminded(cloud, begins[2], 62) == [0]


@pytest.mark.parametrize(("version", "count"), [(2, 0), (1, 1), ("2", 0), ("two", 1), (2.5, 1), ([2], 1)])
async def test_only_who_reports_the_version_has_taken_it(cloud, device, version, count):
    await device.report({"version": version})

    assert await reminded(cloud, TargetReminder(cloud.pool, Told(), clock=cloud.clock), 5) == [count]


async def test_devices_that_were_switched_off_are_told_nothing(cloud, device):
    await cloud.pool.execute("UPDATE fleet_devices SET is_active = false WHERE uuid = $1::uuid", device.uuid)

    assert await reminded(cloud, TargetReminder(cloud.pool, Told(), clock=cloud.clock), 5) == [0]
