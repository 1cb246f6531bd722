"""The look-up cache that processes share, over a real Redis and a real database."""

import asyncio
import json
import time

import pytest
from sharing_builders import linked

from iotistic.kernel.redis.cache import RedisCache
from iotistic.telemetry.model import DeviceRef, SeriesRef
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.generation import Generation
from iotistic.telemetry.resolve.model import Hints, Refusal, UnknownPolicy
from iotistic.telemetry.resolve.shared import SharedDirectory

STRIKE = SeriesRef(DeviceRef("mac", "aabbccddee01"), "J1/strike-1")
SENSOR = SeriesRef(DeviceRef("mac", "aabbccddee01"), "", 2, 3)
GATEWAY = SeriesRef(DeviceRef("key", "gw:1"), "temp:a")
NUMBERED = SeriesRef(DeviceRef("uuid", "6d6a0c4c-3b0f-4d3e-9a58-0d7f3a4d0f11"), "level")
REFS = (STRIKE, SENSOR, GATEWAY, NUMBERED)
HINTS = Hints({}, ())


class Behind:
    """The database's directory, which counts what it is asked and can be overtaken by something."""

    def __init__(self, pool, policy=UnknownPolicy.ADOPT):
        self._directory = PostgresDirectory(pool, policy)
        self.asked = []
        self.meanwhile = None

    async def look_up(self, refs, hints):
        self.asked.append(set(refs))
        found = await self._directory.look_up(refs, hints)
        if self.meanwhile is not None:
            await self.meanwhile()
        return found


class Process:
    """One process's view: its own directory over the common cache and database."""

    def __init__(self, pool, link, policy=UnknownPolicy.ADOPT):
        self.behind = Behind(pool, policy)
        self.directory = SharedDirectory(self.behind, RedisCache(link), Generation(pool))

    async def look_up(self, *refs):
        found = await self.directory.look_up(refs, HINTS)
        await self.directory.stored()
        return found


@pytest.fixture
async def link(redis):
    async with linked(redis.settings(timeout_ms=1000)) as link:
        yield link


@pytest.fixture
async def known(pool):
    """What the database says, once everything is adopted."""
    directory = PostgresDirectory(pool, UnknownPolicy.ADOPT)
    await directory.look_up(REFS, HINTS)
    return await directory.look_up(REFS, HINTS)


async def test_what_one_process_looked_up_another_need_not_ask_the_database(pool, link, known):
    first, second = Process(pool, link), Process(pool, link)
    assert await first.look_up(*REFS) == known

    assert await second.look_up(*REFS) == known
    assert (first.behind.asked, second.behind.asked) == ([set(REFS)], [])


async def test_the_keys_are_those_that_were_agreed_and_live_for_an_hour(pool, link, known, redis):
    await Process(pool, link).look_up(*REFS)

    controller = known[STRIKE].device_id
    mapping = json.loads(redis.command("GET", f"sensor_mapping:{controller}:2:3"))
    numbers = [field.datapoint_id for field in known[SENSOR].fields]
    assert json.loads(redis.command("GET", "device_mac:aabbccddee01"))["device_id"] == controller
    assert (mapping["device_id"], mapping["datapoint_ids"]) == (known[SENSOR].device_id, numbers)
    assert json.loads(redis.command("GET", f"datapoint_metadata:{numbers[0]}"))["label"] == "temperature"
    assert 3500 < int(redis.command("TTL", "device_mac:aabbccddee01")) <= 3600


async def test_only_what_is_missing_is_asked_for(pool, link, known):
    await Process(pool, link).look_up(STRIKE, SENSOR)
    process = Process(pool, link)

    assert await process.look_up(*REFS) == known
    assert process.behind.asked == [{GATEWAY, NUMBERED}]


async def test_a_refusal_is_kept_nowhere(pool, link):
    first, second = (Process(pool, link, UnknownPolicy.REFUSE) for _ in range(2))
    await first.look_up(STRIKE)

    assert isinstance((await second.look_up(STRIKE))[STRIKE], Refusal)
    assert second.behind.asked == [{STRIKE}]


async def test_a_change_makes_everything_stored_before_it_worthless(pool, link, known):
    await Process(pool, link).look_up(*REFS)
    process = Process(pool, link)
    await process.look_up(*REFS)

    await pool.execute("UPDATE datapoints SET decimals = 1 WHERE label = 'temperature'")
    process.directory.forget()
    found = await process.look_up(*REFS)

    assert {field.label: field.decimals for field in found[SENSOR].fields}["temperature"] == 1
    assert process.behind.asked == [set(REFS)]


async def test_a_change_in_any_of_the_tables_has_a_generation_of_its_own(pool, known):
    seen = [await Generation(pool).current()]
    for table in ("devices", "connectors", "pins", "datapoints", "devicetemplates"):
        await pool.execute(f"DELETE FROM {table} WHERE id = -1")
        seen.append(await Generation(pool).current())

    assert len(set(seen)) == 6


async def test_a_change_that_was_undone_leaves_the_generation_as_it_was(pool, known):
    before = await Generation(pool).current()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE devices SET devicename = 'other'")
        await transaction.rollback()

    assert await Generation(pool).current() == before


async def test_many_changes_are_folded_and_keep_their_name(pool):
    await pool.execute(
        "INSERT INTO metadata_marks (txid) SELECT (n + 9000000)::text::xid8 FROM generate_series(1, 1500) n"
    )
    first = await Generation(pool).current()

    assert await pool.fetchval("SELECT count(*) FROM metadata_marks") == 1
    assert await Generation(pool).current() == first


async def test_a_look_up_that_a_change_overtook_is_taken_by_nobody(pool, link, known):
    slow, other = Process(pool, link), Process(pool, link)

    async def move():
        await pool.execute("UPDATE datapoints SET decimals = 0 WHERE label = 'temperature'")

    slow.behind.meanwhile = move
    await slow.look_up(SENSOR)
    found = await other.look_up(SENSOR)

    assert {field.label: field.decimals for field in found[SENSOR].fields}["temperature"] == 0
    assert other.behind.asked == [{SENSOR}]


async def test_a_process_that_has_not_heard_of_a_change_misleads_nobody(pool, link, known):
    deaf, informed = Process(pool, link), Process(pool, link)
    await deaf.look_up(STRIKE)
    await pool.execute("UPDATE datapoints SET decimals = 0 WHERE label = 'temperature'")

    await deaf.look_up(SENSOR)
    found = await informed.look_up(SENSOR)

    assert {field.label: field.decimals for field in found[SENSOR].fields}["temperature"] == 0


@pytest.mark.parametrize(
    "garbage",
    [
        "\udcff{",
        "",
        "null",
        "[]",
        '{"generation": "GENERATION"}',
        '{"generation": "GENERATION", "device_id": -4, "datapoint_ids": [], "datapoint_id": "x"}',
        '{"generation": "GENERATION", "device_id": 99999999999, "datapoint_ids": [0], "datapoint_id": 1.5}',
        "[" * 5000,
    ],
)
async def test_garbage_under_a_key_is_a_miss_and_is_overwritten(pool, link, known, redis, garbage):
    await Process(pool, link).look_up(*REFS)
    written = garbage.replace("GENERATION", await Generation(pool).current())
    keys = redis.command("KEYS", "*").splitlines()
    redis.command("MSET", *(word for key in keys for word in (key, written)))

    first, second = Process(pool, link), Process(pool, link)
    assert await first.look_up(*REFS) == known
    assert await second.look_up(*REFS) == known
    assert second.behind.asked == []


async def test_a_frozen_redis_leaves_look_ups_as_fast_as_without(pool, redis, known):
    async with linked(redis.settings(timeout_ms=50)) as link:
        process = Process(pool, link)
        await process.directory._generations.current()
        redis.freeze()
        started = time.monotonic()
        for _ in range(50):
            assert await process.directory.look_up(REFS, HINTS) == known
        frozen_s = time.monotonic() - started
        started = time.monotonic()
        for _ in range(50):
            await process.behind.look_up(REFS, HINTS)
        alone_s = time.monotonic() - started

    assert len(process.behind.asked) == 100
    assert frozen_s < 2 * alone_s + 1  # 50 time-outs would be 2.5 s more


async def test_a_redis_killed_in_the_middle_of_look_ups_costs_no_answer(pool, link, redis, known):
    process = Process(pool, link)

    async def look_up_for(seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert await process.look_up(*REFS) == known

    working = asyncio.create_task(look_up_for(1.5))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(redis.start)

    await working
