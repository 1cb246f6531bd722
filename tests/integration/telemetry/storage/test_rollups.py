"""Rollups equal what a full recompute of the readings would say, whatever came in which order."""

import asyncio
import math
import random
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from storage_builders import BatchSink, Row, eventually

from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.storage.levels import RollupLevel
from iotistic.telemetry.storage.roller import Round, roll_due
from iotistic.telemetry.storage.statements import HOURS, MINUTES, SESSION
from iotistic.telemetry.storage.watermark import read_watermark, stale_buckets
from iotistic.telemetry.storage.work import Span, day_of, month_of

pytestmark = pytest.mark.every_store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(hours=3)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def rows(start=NOON, *, count=10, device_id=1, datapoint_id=1, step=7 * SECOND, value=1.0):
    return [Row(start + i * step, device_id, datapoint_id, value + i) for i in range(count)]


async def test_minutes_and_hours_hold_minimum_maximum_mean_and_count(sink, roll, connection):
    await sink.store([Row(NOON + i * MINUTE, 1, 2, float(i)) for i in range(60)], now=NOON)

    await roll(LATER)

    hour = await connection.fetchrow("SELECT * FROM decoded_1h")
    assert tuple(hour) == (NOON, 1, 2, 0.0, 59.0, 29.5, 60)
    assert await connection.fetchval("SELECT count(*) FROM decoded_1m WHERE count = 1 AND min = avg") == 60


async def test_the_mean_of_an_hour_weighs_minutes_by_their_readings(sink, roll, connection):
    await sink.store(
        [*rows(value=100, count=1), *rows(NOON + MINUTE, count=4, value=0, step=SECOND)], now=NOON
    )

    await roll(LATER)

    assert await connection.fetchval("SELECT avg FROM decoded_1h") == (100 + 0 + 1 + 2 + 3) / 5


async def test_the_open_minute_is_not_rolled_before_it_closed(sink, roll, connection):
    await sink.store(rows(count=2), now=NOON)

    early = await roll(NOON + MINUTE + timedelta(seconds=4.9))
    closed = await roll(NOON + MINUTE + timedelta(seconds=5))

    assert (early.marks, closed.marks) == (0, 1)
    assert (await read_watermark(connection)).rolled_until == NOON + MINUTE


async def test_stragglers_of_a_rolled_minute_are_gathered_before_it_is_rolled_again(sink, roll, rollups):
    now = NOON + MINUTE + 10 * SECOND
    await sink.store(rows(count=2), now=NOON)
    await roll(now)
    await sink.store(rows(count=2, device_id=2), now=now)

    at_once = await roll(now + 5 * SECOND)
    settled = await roll(NOON + MINUTE + timedelta(seconds=125))

    assert (at_once.marks, settled.marks) == (0, 1)
    stored, right = await rollups("minute")
    assert stored == right


async def test_a_late_row_into_a_minute_forty_days_old_is_rolled(sink, roll, rollups):
    old = NOON - timedelta(days=40)
    await sink.store(rows(old), now=old)
    await roll(old + timedelta(hours=3))

    await sink.store([Row(old + SECOND, 1, 1, 99.0), Row(old + SECOND, 1, 7, 98.0)], now=NOON)
    await roll(NOON)

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


async def test_late_rows_touch_no_other_device(sink, roll, connection):
    await sink.store([*rows(device_id=1), *rows(device_id=2)], now=NOON)
    await roll(LATER)
    await connection.execute("UPDATE decoded_1m SET avg = -1 WHERE device_id = 2")

    await sink.store(rows(count=1, value=500.0, start=NOON + SECOND), now=LATER)
    await roll(LATER)

    assert await connection.fetchval("SELECT count(*) FROM decoded_1m WHERE device_id = 2 AND avg = -1") == 2


async def test_a_batch_that_comes_twice_writes_nothing_the_second_time(sink, roll):
    await sink.store(rows(), now=NOON)
    await roll(LATER)

    await sink.store(rows(), now=NOON)
    again = await roll(LATER)

    assert again == Round(marks=2, stored=0)


async def test_values_whose_sum_overflows_still_have_a_mean(sink, roll, connection):
    largest = 1.7976931348623157e308
    await sink.store([Row(NOON + i * SECOND, 1, 1, largest) for i in range(3)], now=NOON)
    await sink.store([Row(NOON + i * MINUTE, 1, 2, -largest) for i in range(3)], now=NOON)

    await roll(LATER)

    for table in ("decoded_1m", "decoded_1h"):
        means = await connection.fetch(f"SELECT avg FROM {table}")
        assert [abs(row["avg"]) for row in means] == [pytest.approx(largest, rel=1e-14)] * len(means)
        assert means


async def test_an_overflow_costs_its_neighbours_no_digit(sink, roll, connection):
    await sink.store([Row(NOON + i * SECOND, 1, 1, 1.7e308) for i in range(3)], now=NOON)
    await sink.store([Row(NOON + i * SECOND, 1, 2, 0.1) for i in range(3)], now=NOON)

    await roll(LATER)

    for table in ("decoded_1m", "decoded_1h"):
        assert await connection.fetchval(f"SELECT avg FROM {table} WHERE datapoint_id = 2") == pytest.approx(
            0.1
        )


async def test_infinities_and_not_a_number_stop_nothing(sink, roll, connection):
    odd = [math.inf, -math.inf, math.nan, 5e-324]
    await sink.store([Row(NOON + i * SECOND, 1, i, value) for i, value in enumerate(odd)], now=NOON)
    await sink.store([Row(NOON + i * SECOND, 2, 1, value) for i, value in enumerate(odd)], now=NOON)

    await roll(LATER)

    assert await connection.fetchval("SELECT count(*) FROM decoded_1h") == 5
    assert await connection.fetchval("SELECT count(*) FROM rollup_pending") == 0


async def test_a_sink_that_commits_after_the_round_is_rolled_by_the_next(database, sink, roll, rollups):
    await sink.store(rows(), now=NOON)
    slow = BatchSink(await open_connection(database, application_name="slow-sink"))
    transaction = slow.connection.transaction()
    await transaction.start()
    await slow.write(rows(device_id=2), now=NOON)

    await roll(LATER)
    await transaction.commit()
    await roll(LATER)
    await slow.connection.close()

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right
        assert {key[1] for key in stored} == {1, 2}


@pytest.fixture
async def held_roller(database, sink, roller, connection):
    """A roller in the middle of a round: its markers are taken, its rows wait for a lock that we hold."""
    await sink.store(rows(), now=NOON)
    holder = await open_connection(database, application_name="holder")
    await holder.execute("BEGIN; LOCK TABLE decoded_1m IN EXCLUSIVE MODE")
    rolling = asyncio.create_task(roll_due(roller, LATER))
    await eventually("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", connection)
    yield holder, rolling
    await holder.close()


async def test_rows_committed_in_mid_round_leave_a_marker_that_survives(held_roller, sink, roll, rollups):
    holder, rolling = held_roller

    await sink.store(rows(device_id=2), now=NOON)
    await holder.execute("ROLLBACK")
    await rolling
    await roll(LATER)

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


async def test_a_second_roller_stands_by_while_one_is_at_work(held_roller, roll, connection):
    holder, rolling = held_roller

    beside = await roll(LATER)
    await holder.execute("ROLLBACK")
    await rolling

    assert beside == Round(busy=True)
    assert await connection.fetchval("SELECT count(*) FROM decoded_1m") == 2


async def test_a_roller_killed_in_mid_round_changes_nothing(held_roller, connection, roll, rollups):
    holder, rolling = held_roller
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    )
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
        await rolling
    await holder.execute("ROLLBACK")

    assert await connection.fetchval("SELECT count(*) FROM decoded_1m") == 0
    assert await connection.fetchval("SELECT count(*) FROM rollup_pending") == 2
    await roll(LATER)
    stored, right = await rollups("minute")
    assert stored == right


async def test_rollers_at_once_beside_sinks_end_with_the_right_rollups(database, roller, roll, rollups):
    chance = random.Random(7)

    async def pour(device_id: int) -> None:
        own = await open_connection(database, application_name=f"sink-{device_id}")
        for _ in range(15):
            start = NOON + chance.randrange(120) * MINUTE
            now = NOON + chance.randrange(180) * MINUTE
            await BatchSink(own).store(rows(start, device_id=device_id, value=chance.randrange(99)), now=now)
        await own.close()

    async def roll_on() -> None:
        for _ in range(40):
            await roll_due(roller, LATER, rounds=1)

    await asyncio.gather(pour(1), pour(2), roll_on(), roll_on())
    await roll(LATER + timedelta(hours=2))

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


def random_batch(chance, now):
    """One of: fresh rows, rows of the recent past or future, rows of other days and hours' edges."""
    back_s = chance.choice([0, 0, 30, 90, 200, 3600, 86400, 40 * 86400, -45])
    start = now - timedelta(seconds=back_s + chance.randrange(60), microseconds=chance.randrange(1_000_000))
    return [
        Row(
            start + timedelta(seconds=chance.randrange(150)),
            chance.randrange(1, 5),
            chance.randrange(1, 4),
            float(chance.randrange(-50, 50)),
        )
        for _ in range(chance.randrange(1, 12))
    ]


EXACT_BUT_FOR_PENDING = """
SELECT count(*) FROM (
    SELECT date_trunc('minute', "timestamp", 'UTC') AS minute, device_id, datapoint_id,
           min(value), max(value), count(*) FROM decoded_data GROUP BY 1, 2, 3
    EXCEPT SELECT bucket, device_id, datapoint_id, min, max, count FROM decoded_1m) wrong
WHERE minute < (SELECT rolled_until FROM rollup_state) AND NOT EXISTS (
    SELECT FROM rollup_pending p
    WHERE p.minute = wrong.minute AND (p.device_id IS NULL OR p.device_id = wrong.device_id))
"""


@pytest.mark.parametrize(
    ("readings_store", "seed"),
    [*(("plain", seed) for seed in range(6)), ("timescale", 6), ("timescale", 7)],
    indirect=["readings_store"],
)
async def test_any_interleaving_of_batches_and_rounds_ends_right(
    seed, sink, roller, roll, rollups, connection
):
    chance = random.Random(seed)
    now = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
    sent: list[list[Row]] = []
    for _ in range(80):
        now += timedelta(seconds=chance.choice([0, 1, 20, 61, 400]))
        resend = sent and chance.random() < 0.2
        sent.append(chance.choice(sent) if resend else random_batch(chance, now))
        await sink.store(sent[-1], now=now)
        rounds = chance.choice([0, 0, 1, 3])
        roller.careful = chance.random() < 0.3
        await roll_due(roller, now, rounds=rounds)
        assert await connection.fetchval(EXACT_BUT_FOR_PENDING) == 0

    await roll(now + timedelta(hours=3))

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right
    assert await connection.fetchval("SELECT count(*) FROM rollup_pending") == 0


async def test_buckets_are_those_of_utc_whatever_the_session_says(sink, roller, pool, rollups):
    async with pool.acquire() as one:
        name = await one.fetchval("SELECT current_database()")
        await one.execute(f"ALTER DATABASE {name} SET timezone = 'Pacific/Chatham'")
    await pool.expire_connections()
    await sink.store([Row(NOON + i * timedelta(minutes=25), 1, 1, float(i)) for i in range(60)], now=NOON)

    await roll_due(roller, NOON + timedelta(days=2))

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


async def test_the_watermark_stops_at_the_first_fresh_minute_that_waits(sink, roller, connection):
    await sink.store([Row(NOON + i * MINUTE, 1, 1, 1.0) for i in range(5)], now=NOON)

    await roller.roll_minutes(LATER)

    assert (await read_watermark(connection)).rolled_until == NOON + 2 * MINUTE


async def test_buckets_that_wait_are_named_to_those_who_read(sink, roll, connection):
    await sink.store(rows(), now=NOON)
    await roll(LATER)
    await sink.store(rows(count=1, value=3.0), now=LATER)
    span = Span(NOON, NOON + timedelta(hours=1))

    assert await stale_buckets(connection, RollupLevel.MINUTE, 1, span) == [NOON]
    assert await stale_buckets(connection, RollupLevel.HOUR, 1, span) == [NOON]
    assert await stale_buckets(connection, RollupLevel.RAW, 1, span) == []
    assert await stale_buckets(connection, RollupLevel.MINUTE, 2, span) == []


@pytest.mark.parametrize(
    ("statement", "source", "arguments"),
    [
        (MINUTES.roll_all, "decoded_data_20261120", (NOON, NOON + MINUTE)),
        (MINUTES.roll_devices, "decoded_data_20261120", ([1], [NOON], [NOON + MINUTE])),
        (HOURS.roll_all, "decoded_1m_202611", (NOON, NOON + timedelta(hours=1))),
        (HOURS.roll_devices, "decoded_1m_202611", ([1], [NOON], [NOON + timedelta(hours=1)])),
    ],
)
async def test_a_round_reads_one_partition_by_its_key(connection, sink, roll, statement, source, arguments):
    for day in range(-40, 1, 20):
        await sink.store(rows(NOON + timedelta(days=day), count=40), now=NOON)
    await roll(LATER)
    partition = day_of(NOON) if "data" in source else month_of(NOON)
    table, _, _ = source.rpartition("_")
    relation = await connection.fetchval(
        "SELECT relation::text FROM partitions_of($1) WHERE name = $2", table, source
    )

    for text in statement:
        async with connection.transaction():
            await connection.execute(SESSION)
            plan = "\n".join(
                row[0]
                for row in await connection.fetch(
                    f"EXPLAIN {text}", *arguments, partition.start, partition.end
                )
            )
        reads = set(
            re.findall(r'using "?(\w+?)"? on (?:_timescaledb_internal\.)?(\w+_(?:20\d+|chunk)) ', plan)
        )
        assert {table for _, table in reads} == {relation.rpartition(".")[2]}, plan
        assert all(index.endswith("_pkey") for index, _ in reads)
        assert "Seq Scan" not in plan
