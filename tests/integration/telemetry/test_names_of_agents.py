"""Readings of agents stand under the names that their fleet knows them by."""

import uuid

import pytest
from ingest_builders import NOW, Stages

from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.query.parameters import DevicesQuery
from iotistic.telemetry.query.service import QueryService


class Site:
    """A database with a fleet, and an ingest worker's first stages."""

    def __init__(self, pool):
        self.pool, self.stages, self.uuid = pool, Stages(pool), str(uuid.uuid4())

    async def register(self, name, agent=None):
        await self.pool.execute(
            "INSERT INTO fleet_devices (uuid, name, type, fleet_id) VALUES ($1::text::uuid, $2, 'gateway', 'hall')",
            agent or self.uuid,
            name,
        )

    async def rename(self, name):
        await self.pool.execute(
            "UPDATE fleet_devices SET name = $2 WHERE uuid = $1::text::uuid", self.uuid, name
        )

    async def read(self):
        await self.stages.resolve((f"sensor/{self.uuid}/temperature", {"timestamp": NOW, "value": 1.5}))

    async def name(self):
        return await self.pool.fetchval(
            "SELECT devicename FROM devices WHERE uuid::text = $1 OR externalkey = $1", self.uuid
        )

    async def marks(self):
        return await self.pool.fetchval("SELECT sum(mark) FROM metadata_marks")


@pytest.fixture
async def site(pool):
    return Site(pool)


async def test_a_reading_of_a_known_agent_stands_under_its_name(site):
    await site.register("press of hall 1")
    await site.read()

    assert await site.name() == "press of hall 1"


async def test_an_agent_that_becomes_known_later_gets_its_name_then_and_each_new_one(site):
    await site.read()
    before = await site.name()
    await site.register("press of hall 1")
    named = await site.name()
    await site.rename("press of hall 2")

    assert (before, named, await site.name()) == (site.uuid, "press of hall 1", "press of hall 2")


async def test_a_name_that_was_given_in_the_registry_stays(site):
    await site.register("press of hall 1")
    await site.read()
    await site.pool.execute("UPDATE devices SET devicename = 'my press' WHERE devicename = 'press of hall 1'")
    await site.rename("press of hall 2")

    assert await site.name() == "my press"


async def test_a_device_that_takes_over_an_announced_row_brings_its_name(site):
    await site.read()
    await site.register("press of hall 1", agent=str(uuid.uuid4()))
    await site.pool.execute("UPDATE fleet_devices SET uuid = $1::text::uuid", site.uuid)

    assert await site.name() == "press of hall 1"


async def test_workers_are_not_told_of_devices_that_send_no_readings(site):
    before = await site.marks()
    await site.register("press of hall 1")
    await site.rename("press of hall 2")
    silent = await site.marks()
    await site.read()
    read = await site.marks()
    await site.rename("press of hall 3")

    assert (before, await site.marks() != read) == (silent, True)


async def test_a_controller_keeps_the_name_of_its_own(site):
    await site.register("press of hall 1")
    await site.stages.resolve(
        ("tele/f2-aabbccddee01/sensor-mode/J2/sensor-3", {"timestamp": NOW, "data": ""})
    )

    assert await site.pool.fetchval("SELECT count(*) FROM devices WHERE devicename = 'press of hall 1'") == 0


async def test_queries_find_and_show_the_agent_by_its_name(site, tmp_path):
    await site.read()
    await site.register("press of hall 1")
    query = QueryService(site.pool, LiveHub(tmp_path))
    page = await query.devices.page(DevicesQuery(q="hall 1"))
    found = await query.devices.find("press of hall 1")

    assert [one.name for one in page.items] == ["press of hall 1"]
    assert found["name"] == "press of hall 1"
