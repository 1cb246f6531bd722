"""An installation moves from plain partitions into a hypertable while readings come in, whatever is killed."""

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime, timedelta

import pytest
from databases import MIGRATIONS
from storage_builders import BRUTE_FORCE, BatchSink, Row, by_key, nearly

from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.telemetry.storage import moving
from iotistic.telemetry.storage.moving import Mover, NothingToAbandon, TimescaleNotOffered
from iotistic.telemetry.storage.partitions import drop, partitions_of
from iotistic.telemetry.storage.roller import Roller, roll_due
from iotistic.telemetry.storage.settings import RollupSettings
from iotistic.telemetry.storage.store import StoreKind, read_store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
DAYS, ROWS_PER_DAY = 6, 12_000


@pytest.fixture
async def connection(empty_timescale_database):
    opened = await open_connection(empty_timescale_database, application_name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def mover(empty_timescale_database, monkeypatch):
    monkeypatch.setattr(moving, "_PAGES_PER_SLICE", 16)  # a day is several slices
    opened = await open_connection(empty_timescale_database, application_name="mover")
    yield Mover(opened, lambda _line: None)
    await opened.close()


@pytest.fixture
async def installation(empty_timescale_database, connection):
    """Six days in plain partitions, as an installation has them whose server got the extension later."""
    name = empty_timescale_database.database
    await connection.execute(f"ALTER DATABASE {name} SET timescaledb.disable_load = 'on'")
    earlier = await open_connection(empty_timescale_database, application_name="earlier")
    await runner.migrate(earlier, MIGRATIONS)
    await earlier.close()
    await connection.execute(f"ALTER DATABASE {name} RESET timescaledb.disable_load")
    days = [(NOON - n * DAY).date() for n in range(DAYS)]
    await connection.execute("SELECT ensure_partitions($1)", days)
    await connection.execute(
        """
        INSERT INTO decoded_data
        SELECT $1::timestamptz - d * interval '1 day' + n * interval '3 seconds', n % 7, n % 3, n
        FROM generate_series(0, $2 - 1) d, generate_series(0, $3 - 1) n""",
        NOON, DAYS, ROWS_PER_DAY,
    )  # fmt: skip
    return connection


class Writer:
    """Stores fresh and late rows all the time, each batch acknowledged after its commit."""

    def __init__(self, connection) -> None:
        self._sink = BatchSink(connection)
        self.acknowledged: set[tuple] = set()
        self.stopping = False

    async def run(self) -> None:
        chance = random.Random(5)
        n = 0
        while not self.stopping:
            n += 1
            day = chance.choice([0, 0, 1, 4, -1, 9])
            start = NOON - day * DAY + timedelta(microseconds=n)
            rows = [Row(start + k * SECOND, 100 + n % 5, 1, float(n)) for k in range(20)]
            await self._sink.store(rows, now=NOON)
            self.acknowledged |= {(row.timestamp, row.device_id) for row in rows}


async def moved(database, *, kill_at=None):
    """Run the command and return its JSON; or kill it when it says `kill_at`."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "db", "to-hypertable", "--json"),
        env=os.environ | database.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        if kill_at is None:
            out, _ = await child.communicate()
            return json.loads(out)
        while not (await child.stderr.readline()).startswith(kill_at):
            assert not child.stderr.at_eof()
        child.kill()
        await child.communicate()
        return None


@pytest.mark.slow
async def test_no_row_is_lost_when_it_is_killed_again_and_again_beside_a_writer(
    installation, empty_timescale_database
):
    own = await open_connection(empty_timescale_database, application_name="writer")
    writer = Writer(own)
    writing = asyncio.create_task(writer.run())
    for step in (b"beginning", b"copying", b"copied", b"copied", b"finishing"):
        await moved(empty_timescale_database, kill_at=step)
    done = await moved(empty_timescale_database)
    writer.stopping = True
    await writing
    await own.close()

    kept = {tuple(r) for r in await installation.fetch("SELECT timestamp, device_id FROM decoded_data")}
    assert done["store"]["kind"] == "timescaledb_apache"
    assert writer.acknowledged
    assert writer.acknowledged <= kept
    assert await installation.fetchval("SELECT count(*) FROM decoded_data") == DAYS * ROWS_PER_DAY + len(
        writer.acknowledged
    )
    left_over = await installation.fetch(
        "SELECT relname FROM pg_class WHERE relname ~ '^decoded_data_(plain|next|moved|2)'"
    )
    assert left_over == []


async def test_rollups_are_right_for_late_rows_during_and_after_the_move(
    installation, mover, empty_timescale_database, monkeypatch
):
    sink = BatchSink(installation)
    dsn = empty_timescale_database
    pool = await create_pool(
        DatabaseSettings(database_url=dsn.url, database_password=dsn.password), application_name="roller"
    )
    roller = Roller(pool, RollupSettings())
    await sink.store([Row(NOON - n * DAY, 50, 1, 1.0) for n in range(3)], now=NOON)
    copy_day = mover._copy_day

    async def between_days(day, *, left):
        rows = await copy_day(day, left=left)
        await sink.store([Row(NOON - n * DAY + left * SECOND, 50, 1, left) for n in range(DAYS)], now=NOON)
        await roll_due(roller, NOON + DAY)
        return rows

    monkeypatch.setattr(mover, "_copy_day", between_days)
    await mover.run()
    await sink.store([Row(NOON - n * DAY + 30 * SECOND, 50, 1, 7.0) for n in range(DAYS)], now=NOON)
    await roll_due(roller, NOON + DAY)
    pool.terminate()

    for unit, table in (("minute", "decoded_1m"), ("hour", "decoded_1h")):
        stored = by_key(await installation.fetch(f"SELECT * FROM {table} WHERE device_id = 50"))
        right = by_key(
            await installation.fetch(f"SELECT * FROM ({BRUTE_FORCE}) b WHERE device_id = 50", unit)
        )
        assert stored
        assert stored == nearly(right)


async def test_a_day_that_retention_drops_meanwhile_does_not_come_back(installation, mover, monkeypatch):
    copy_day = mover._copy_day

    async def drop_first(day, *, left):
        rows = await copy_day(day, left=left)
        oldest, *_ = await partitions_of(installation, "decoded_data")
        if left == DAYS - 1:
            await drop(installation, oldest)
        return rows

    monkeypatch.setattr(mover, "_copy_day", drop_first)
    await mover.run()

    assert len(await partitions_of(installation, "decoded_data")) == DAYS - 1
    assert await installation.fetchval("SELECT count(*) FROM decoded_data") == (DAYS - 1) * ROWS_PER_DAY


async def test_a_day_that_does_not_add_up_stops_the_move(installation, mover, monkeypatch):
    monkeypatch.setattr(
        moving, "_COPY_SLICE", moving._COPY_SLICE.replace("ctid < ", "device_id <> 3 AND ctid < ")
    )

    with pytest.raises(moving.MoveIncomplete):
        await mover.run()

    assert (await read_store(installation)).kind is StoreKind.PLAIN
    assert await installation.fetchval("SELECT count(*) FROM decoded_data") == DAYS * ROWS_PER_DAY


async def test_a_move_can_be_given_up_and_begun_again(installation, mover, empty_timescale_database):
    await moved(empty_timescale_database, kill_at=b"copied")
    left = await read_store(installation)
    await mover.abandon()
    given_up = await read_store(installation)
    await BatchSink(installation).store([Row(NOON + SECOND, 9, 9, 1.0)], now=NOON)
    again = await mover.run()

    assert (left.kind, left.moving) == (StoreKind.PLAIN, True)
    assert (given_up.kind, given_up.moving) == (StoreKind.PLAIN, False)
    assert again.rows == DAYS * ROWS_PER_DAY + 1
    with pytest.raises(NothingToAbandon):
        await mover.abandon()


async def test_the_second_run_has_nothing_to_do(installation, mover):
    await mover.run()

    again = await mover.run()

    assert (again.days, again.rows) == (0, 0)
    assert again.store.kind is not StoreKind.PLAIN


async def test_a_server_without_the_extension_says_what_to_do(database):
    plain = await open_connection(database, application_name="test")

    with pytest.raises(TimescaleNotOffered) as refusal:
        await Mover(plain, print).run()

    assert "shared_preload_libraries" in (refusal.value.hint or "")
    await plain.close()
