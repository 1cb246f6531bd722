"""Where readings are kept: chosen when the schema is migrated, said by the commands, and merged into when late."""

import asyncio
import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from databases import MIGRATIONS
from storage_builders import Row

from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.model import Resolved, Rows
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.storage.keeper import Keeper
from iotistic.telemetry.storage.settings import RetentionSettings, RollupSettings
from iotistic.telemetry.storage.store import StoreKind, read_store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def batch(rows, *, now):
    """Rows as the resolver hands them on."""
    return Resolved(
        Rows(
            np.array([row.device_id for row in rows], np.int32),
            np.array([row.datapoint_id for row in rows], np.int32),
            np.array([round(row.timestamp.timestamp() * 1e6) for row in rows], np.int64),
            np.array([row.value for row in rows]),
        ),
        [], [], round(now.timestamp() * 1e6),
    )  # fmt: skip


async def said(database, *words):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", *words),
        env=os.environ | database.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(child.communicate(), 30)
    return out.decode()


@pytest.mark.parametrize(
    ("readings_store", "name"), [("plain", "plain partitions"), ("timescale", "TimescaleDB 2.")], indirect=["readings_store"]
)  # fmt: skip
async def test_status_and_doctor_say_where_readings_are(database, readings_store, name):
    shown = json.loads(await said(database, "db", "status", "--json"))
    words = await said(database, "db", "status")
    findings = json.loads(await said(database, "doctor", "--json"))["findings"]

    assert shown["store"]["name"].startswith(name)
    assert words.startswith(f"readings: {name}")
    assert [one["found"].startswith(name) for one in findings if one["check"] == "readings"] == [True]


async def test_an_empty_table_becomes_a_hypertable_with_the_same_columns_and_key(
    database, empty_timescale_database
):
    columns = (
        "SELECT attname, atttypid, attnotnull FROM pg_attribute"
        " WHERE attrelid = 'decoded_data'::regclass AND attnum > 0"
    )
    keys = "SELECT pg_get_indexdef('decoded_data_pkey'::regclass)"
    plain = await open_connection(database, application_name="test")
    other = await open_connection(empty_timescale_database, application_name="test")
    await runner.migrate(other, MIGRATIONS)

    assert (await read_store(other)).kind is not StoreKind.PLAIN
    assert await other.fetch(columns) == await plain.fetch(columns)
    shapes = [(await one.fetchval(keys)).replace("ONLY ", "") for one in (other, plain)]
    assert shapes[0] == shapes[1]
    await plain.close()
    await other.close()


async def test_a_database_that_says_so_keeps_plain_partitions(empty_timescale_database):
    owner = await open_connection(empty_timescale_database, application_name="test")
    name = empty_timescale_database.database
    await owner.execute(f"ALTER DATABASE {name} SET timescaledb.disable_load = 'on'")
    await owner.close()
    connection = await open_connection(empty_timescale_database, application_name="test")

    await runner.migrate(connection, MIGRATIONS)

    store = await read_store(connection)
    assert (store.kind, store.offered) == (StoreKind.PLAIN, None)
    await connection.close()


async def test_a_table_with_readings_stays_as_it_is(empty_timescale_database, tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for migration in sorted(MIGRATIONS.glob("*.sql")):
        if migration.stem < "0007":
            shutil.copy(migration, earlier)
    connection = await open_connection(empty_timescale_database, application_name="test")
    await runner.migrate(connection, earlier)
    await connection.execute("SELECT ensure_partitions(ARRAY['2026-11-20'::date])")
    await connection.execute("INSERT INTO decoded_data VALUES ($1, 1, 1, 1)", NOON)

    await runner.migrate(connection, MIGRATIONS)

    store = await read_store(connection)
    assert (str(store), store.kind, bool(store.offered)) == ("plain partitions", StoreKind.PLAIN, True)
    await connection.close()


@pytest.fixture
async def staging_sink(database, connection):
    """A sink of a database whose days are compressed after two; the compression itself is the full edition's."""
    await connection.execute("UPDATE readings_store SET staged_after = interval '2 days'")
    sink = Sink(database, application_name="staging-sink")
    yield sink
    await sink.close()


@pytest.fixture
def keeper(pool):
    return Keeper(pool, RollupSettings(), RetentionSettings(), clock=lambda: NOON + 3 * HOUR)


@pytest.mark.every_store
async def test_readings_for_compressed_days_wait_and_are_merged_day_by_day(
    staging_sink, keeper, connection, rollups
):
    fresh = [Row(NOON + n * SECOND, 1, 1, float(n)) for n in range(5)]
    late = [Row(NOON - days * DAY + n * SECOND, 1, 1, float(n)) for days in (3, 40) for n in range(5)]

    written = await staging_sink.write(batch([*fresh, *late], now=NOON))
    apart = await connection.fetchval("SELECT count(*) FROM late_readings")
    await keeper.run_once()

    assert (written.rows, apart) == (15, 10)
    assert await connection.fetchval("SELECT count(*) FROM decoded_data") == 15
    assert await connection.fetchval("SELECT count(*) FROM late_readings") == 0
    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


@pytest.mark.every_store
async def test_of_late_readings_that_repeat_the_first_to_arrive_stays(staging_sink, keeper, connection):
    late = Row(NOON - 5 * DAY, 1, 1, 1.0)
    await staging_sink.write(batch([late], now=NOON))
    await staging_sink.write(batch([late._replace(value=2.0)], now=NOON + SECOND))
    await keeper.run_once()
    await staging_sink.write(batch([late._replace(value=3.0)], now=NOON + 2 * SECOND))
    await keeper.run_once()

    assert [row["value"] for row in await connection.fetch("SELECT value FROM decoded_data")] == [1.0]


@pytest.mark.every_store
async def test_a_batch_of_late_readings_alone_is_stored(staging_sink, keeper, connection):
    await staging_sink.write(batch([Row(NOON - 5 * DAY, 1, 1, 1.0)], now=NOON))
    await keeper.run_once()

    assert await connection.fetchval("SELECT count FROM decoded_1h") == 1
