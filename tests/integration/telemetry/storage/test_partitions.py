"""Partitions stand before they are needed and go when all of their rows are too old, by the days of UTC."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from storage_builders import Row

from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.storage import partitions
from iotistic.telemetry.storage.retention import keep_house
from iotistic.telemetry.storage.settings import RetentionSettings
from iotistic.telemetry.storage.watermark import read_watermark

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
NEVER = RetentionSettings(
    retention_raw_days=0, retention_1m_days=0, retention_1h_days=0, retention_dead_letters_days=0
)


async def names(connection, table):
    return [partition.name for partition in await partitions.partitions_of(connection, table)]


@pytest.mark.parametrize(
    ("now", "days", "months", "years"),
    [
        ("2026-12-30T12:00", "1229 1230 1231 0101 0102", ["202612", "202701"], ["2026", "2027"]),
        ("2028-02-27T00:00", "0226 0227 0228 0229 0301", ["202802", "202803"], ["2028"]),
        ("2027-02-27T23:59", "0226 0227 0228 0301 0302", ["202702", "202703"], ["2027"]),
        ("2027-01-01T00:00", "1231 0101 0102 0103 0104", ["202612", "202701"], ["2026", "2027"]),
    ],
)
async def test_partitions_stand_from_yesterday_to_three_days_ahead(connection, now, days, months, years):
    await partitions.make_ahead(connection, datetime.fromisoformat(now).replace(tzinfo=UTC))

    for table in ("decoded_data", "telemetry_events"):
        assert [name[-4:] for name in await names(connection, table)] == days.split()
    assert [name[-6:] for name in await names(connection, "decoded_1m")] == months
    assert [name[-4:] for name in await names(connection, "decoded_1h")] == years


async def test_partitions_are_made_once_by_many_at_once(pool):
    made = await asyncio.gather(
        *(pool.fetchval("SELECT ensure_partitions($1)", [date(2026, 11, day)]) for day in (1, 2, 1, 2, 1, 2))
    )

    assert sum(made) == 4


async def test_making_a_partition_waits_for_no_reader_or_writer(connection, sink, database):
    await sink.store([Row(MIDNIGHT, 1, 1, 1.0)], now=MIDNIGHT)
    other = await open_connection(database, application_name="reader-and-writer")
    await other.execute("BEGIN")
    await other.execute("SELECT * FROM decoded_data")
    await other.execute(
        "INSERT INTO decoded_data (timestamp, device_id, datapoint_id, value) VALUES ($1, 2, 2, 2)", MIDNIGHT
    )

    await connection.execute("SET lock_timeout = '2s'")
    made = await connection.fetchval("SELECT ensure_partitions($1)", [date(2026, 12, 1)])

    assert made == 2
    await other.close()


@pytest.mark.every_store
async def test_bounds_are_those_of_utc_in_a_session_of_another_zone(connection, sink):
    await connection.execute("SET timezone = 'America/St_Johns'")
    await connection.execute("SET datestyle = 'German'")

    await sink.store([Row(MIDNIGHT - INSTANT, 1, 1, 1.0)], now=MIDNIGHT)

    (day,) = await partitions.partitions_of(connection, "decoded_data")
    assert (day.lower_bound, day.upper_bound) == (MIDNIGHT - DAY, MIDNIGHT)


@pytest.mark.every_store
@pytest.mark.parametrize(
    ("now", "left"),
    [
        (MIDNIGHT + 2 * DAY - INSTANT, ["20261120", "20261121"]),
        (MIDNIGHT + 2 * DAY, ["20261121"]),
        (MIDNIGHT + 3 * DAY - INSTANT, ["20261121"]),
        (MIDNIGHT + 3 * DAY, []),
    ],
)
async def test_a_day_goes_at_the_instant_when_its_last_row_is_too_old(
    connection, pool, sink, roll, now, left
):
    await sink.store([Row(MIDNIGHT - INSTANT, 1, 1, 1.0), Row(MIDNIGHT, 1, 1, 1.0)], now=MIDNIGHT)
    await roll(MIDNIGHT + DAY)
    settings = RetentionSettings(retention_raw_days=2)

    await keep_house(pool, settings, now)

    for table in ("decoded_data", "telemetry_events"):
        old = [name[-8:] for name in await names(connection, table) if name[-8:] <= "20261121"]
        assert old == left


@pytest.mark.parametrize(
    ("table", "settings", "upper_bound"),
    [
        ("decoded_1m", {"retention_1m_days": 400}, datetime(2025, 2, 1, tzinfo=UTC)),
        ("decoded_1h", {"retention_1h_days": 400}, datetime(2025, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_month_and_a_year_go_whole(connection, pool, table, settings, upper_bound):
    settings = NEVER.model_copy(update=settings)
    lower = upper_bound - DAY
    await connection.execute("SELECT ensure_rollup_partitions($1)", [lower])
    limit = upper_bound + 400 * DAY

    await keep_house(pool, settings, limit - INSTANT)
    kept = len(await names(connection, table))
    done = await keep_house(pool, settings, limit)

    assert len(done.dropped) == 1
    assert done.dropped[0].startswith(table)
    assert kept - len(await names(connection, table)) == 1


async def test_zero_days_keep_for_ever(connection, pool):
    await connection.execute("SELECT ensure_partitions($1)", [date(1970, 1, 2)])
    await connection.execute("SELECT ensure_rollup_partitions($1)", [datetime(1970, 1, 2, tzinfo=UTC)])
    await connection.execute(
        "INSERT INTO dead_letters (received_at, topic, payload, reason) VALUES ('1970-01-02', 'a', 'b', 'c')"
    )

    done = await keep_house(pool, NEVER, MIDNIGHT)

    assert (done.dropped, done.dead_letters) == ([], 0)


@pytest.mark.every_store
async def test_a_late_row_into_a_dropped_day_leaves_its_rollup_alone(connection, pool, sink, roll):
    settings = RetentionSettings(retention_raw_days=2)
    await sink.store([Row(MIDNIGHT + timedelta(seconds=i), 1, 1, float(i)) for i in range(10)], now=MIDNIGHT)
    await roll(MIDNIGHT + DAY)
    now = MIDNIGHT + 5 * DAY
    await keep_house(pool, settings, now)

    await sink.store([Row(MIDNIGHT + timedelta(seconds=3), 1, 1, 777.0)], now=now)
    done = await roll(now)
    await keep_house(pool, settings, now)

    assert done.discarded == 1
    for table in ("decoded_1m", "decoded_1h"):
        assert await connection.fetchval(f"SELECT count FROM {table}") == 10
    assert await connection.fetchval("SELECT count(*) FROM decoded_data") == 0
    assert (await read_watermark(connection)).raw_kept_from == MIDNIGHT + DAY


@pytest.mark.every_store
async def test_a_day_that_waits_to_be_rolled_is_not_dropped(connection, pool, sink, roll):
    settings = RetentionSettings(retention_raw_days=2)
    await sink.store([Row(MIDNIGHT, 1, 1, 1.0)], now=MIDNIGHT)
    now = MIDNIGHT + 5 * DAY

    early = await keep_house(pool, settings, now)
    await roll(now)
    late = await keep_house(pool, settings, now)

    assert early.postponed == ["decoded_data_20261121"]
    assert late.dropped == ["decoded_data_20261121"]
    assert await connection.fetchval("SELECT count FROM decoded_1h") == 1


@pytest.mark.every_store
async def test_a_drop_gives_way_to_a_long_reader_and_succeeds_later(connection, pool, database, sink, roll):
    await sink.store([Row(MIDNIGHT, 1, 1, 1.0)], now=MIDNIGHT)
    now = MIDNIGHT + 5 * DAY
    await roll(now)
    reader = await open_connection(database, application_name="reader")
    await reader.execute("BEGIN; SELECT * FROM decoded_data")
    (day,) = await partitions.partitions_of(connection, "decoded_data")

    beside_a_reader = await partitions.drop(connection, day)
    await reader.execute("COMMIT")
    after_it = await partitions.drop(connection, day)
    await reader.close()

    assert (beside_a_reader, after_it) == (partitions.DropResult.LOCKED, partitions.DropResult.DROPPED)


async def test_old_dead_letters_go_in_batches_and_young_ones_stay(connection, pool):
    await connection.execute(
        "INSERT INTO dead_letters (received_at, topic, payload, reason)"
        " SELECT $1::timestamptz - make_interval(days => 35, secs => -i * 60), 'a', 'b', 'c'"
        " FROM generate_series(0, 11999) i",
        MIDNIGHT,
    )

    done = await keep_house(pool, RetentionSettings(), MIDNIGHT)

    assert done.dead_letters == 5 * 24 * 60
    oldest = await connection.fetchval("SELECT min(received_at) FROM dead_letters")
    assert oldest == MIDNIGHT - 30 * DAY


@pytest.mark.every_store
async def test_days_that_ended_are_analysed_once(connection, sink):
    then = datetime(2020, 3, 1, tzinfo=UTC)  # what the server analyses now counts as analysed after that day
    await sink.store([Row(then - DAY, 1, 1, 1.0)], now=then)

    first = await partitions.analyze_closed(connection, then)
    again = await partitions.analyze_closed(connection, then)

    assert (first, again) == (["decoded_data_20200229", "telemetry_events_20200229"], [])
