"""Plain partitions beside a TimescaleDB hypertable (Apache edition): the same rows, the same questions.

Both are databases of one server, so that nothing but the store differs. Rows go in through our sink, batch
by batch in turns; questions are the API's own, asked without HTTP. `reference` is plain partitions.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

import iotistic
from benchmarks.framework import Report, percentile
from benchmarks.query import DATAPOINTS, DAYS, REGISTER, Sizes, load
from benchmarks.sink import make_rows
from benchmarks.timescale import TimescaleServer
from benchmarks.usage import cpu_seconds
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.telemetry.model import Resolved, Rows
from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.parameters import ReadingsQuery, SeriesQuery
from iotistic.telemetry.query.readings import ReadingQueries
from iotistic.telemetry.query.repository import QueryRepository
from iotistic.telemetry.query.series import SeriesQueries
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.storage.roller import Roller, roll_due
from iotistic.telemetry.storage.settings import RollupSettings

_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_STORES = ("plain", "hypertable")
_BATCH = 20_000
_QUICK = Sizes(devices=50, rows_per_series=600, questions=100)
_FULL = Sizes(devices=200, rows_per_series=1000, questions=400)


def run(quick: bool, report: Report) -> None:
    server = TimescaleServer()
    try:
        asyncio.run(_compare(server.start(), server, report, quick=quick))
    finally:
        server.stop()


async def _compare(address: Dsn, server: TimescaleServer, report: Report, *, quick: bool) -> None:
    stores = {name: await _database(address, name) for name in _STORES}
    count, rounds = (300_000, 3) if quick else (2_000_000, 5)
    await _store(stores, server, report, make_rows(count), rounds)
    await _roll(stores, report)
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sizes = _QUICK if quick else _FULL
    for dsn in stores.values():
        await execute(
            dsn, "TRUNCATE decoded_data, decoded_1m, decoded_1h, rollup_pending, rollup_pending_hours"
        )
        await execute(dsn, REGISTER.format(datapoints=DATAPOINTS, devices=sizes.devices))
        await load(dsn, sizes, end, report)
    await _ask(stores, report, sizes, end)


async def _database(address: Dsn, name: str) -> Dsn:
    """Make a database whose readings are in the store `name`."""
    await execute(address, f"CREATE DATABASE {name}")
    if name == "plain":
        await execute(address, f"ALTER DATABASE {name} SET timescaledb.disable_load = 'on'")
    dsn = address.with_database(name)
    connection = await open_connection(dsn, application_name="benchmark")
    await runner.migrate(connection, _MIGRATIONS)
    await connection.close()
    return dsn


async def execute(dsn: Dsn, statement: str) -> None:
    connection = await open_connection(dsn, application_name="benchmark")
    await connection.execute(statement)
    await connection.close()


async def _store(
    stores: dict[str, Dsn], server: TimescaleServer, report: Report, rows: Rows, rounds: int
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in stores}
    again: dict[str, list[float]] = {name: [] for name in stores}
    cpu_s = dict.fromkeys(stores, 0.0)
    for number in range(rounds):
        for name, dsn in stores.items():
            await execute(dsn, "TRUNCATE decoded_data, rollup_pending")
            await execute(dsn, "CHECKPOINT")
            before = cpu_seconds(server.pid)
            rates[name].append(await write(dsn, rows))
            cpu_s[name] += cpu_seconds(server.pid) - before
            again[name].append(await write(dsn, rows))
        report.progress(
            f"round {number + 1}: " + ", ".join(f"{rates[one][-1]:,.0f} rows/s {one}" for one in stores)
        )
    millions = len(rows) * rounds / 1e6
    _add(report, "sink", {name: statistics.median(rates[name]) for name in stores}, "rows/s")
    _add(
        report,
        "sink, rows that are there already",
        {n: statistics.median(again[n]) for n in stores},
        "rows/s",
    )
    _add(report, "CPU of PostgreSQL", {name: cpu_s[name] / millions for name in stores}, "s/million")


async def write(dsn: Dsn, rows: Rows) -> float:
    """Return the rows per second at which the sink stores them."""
    sink = Sink(dsn, application_name="benchmark-sink")
    started = time.monotonic()
    for start in range(0, len(rows), _BATCH):
        batch = Resolved(rows.take(slice(start, start + _BATCH)), [], [], time.time_ns() // 1000)
        await sink.write(batch)
    rate = len(rows) / (time.monotonic() - started)
    await sink.close()
    return rate


async def _roll(stores: dict[str, Dsn], report: Report) -> None:
    """Roll up what the sink has stored: a thousand series of a few seconds."""
    took_ms: dict[str, float] = {}
    for name, dsn in stores.items():
        pool = await pool_of(dsn)
        started = time.perf_counter()
        await roll_due(Roller(pool, RollupSettings()), datetime.now(UTC) + timedelta(hours=3))
        took_ms[name] = (time.perf_counter() - started) * 1000
        await pool.close()
    _add(report, "rolling it up", took_ms, "ms")


async def _ask(stores: dict[str, Dsn], report: Report, sizes: Sizes, end: datetime) -> None:
    pools = {name: await pool_of(dsn) for name, dsn in stores.items()}
    for title, question in questions(sizes, end).items():
        took_ms: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(sizes.questions):
            asked = question()
            for name, pool in pools.items():
                started = time.perf_counter()
                assert await asked(pool), title
                took_ms[name].append((time.perf_counter() - started) * 1000)
        for percent in (50, 95):
            _add(report, f"{title}, p{percent}", {n: percentile(took_ms[n], percent) for n in stores}, "ms")
    for pool in pools.values():
        await pool.close()


Question = Callable[[], Callable[[asyncpg.Pool], Awaitable[object]]]


def questions(sizes: Sizes, end: datetime) -> dict[str, Question]:
    """Return what people ask, each time of another device and time; the same questions in every run."""
    month = end - timedelta(days=DAYS)
    chance = random.Random(7)

    def day() -> tuple[datetime, datetime]:
        start = end - timedelta(seconds=chance.randint(86_400, DAYS * 86_400))
        return start, start + timedelta(days=1)

    return {
        "latest of a device": lambda: _latest(chance.randint(1, sizes.devices)),
        "one day at 500 points": lambda: _series(_key(chance, sizes), _one(chance), *day()),
        "30 days at 500 points": lambda: _series(_key(chance, sizes), _one(chance), month, end),
        "1,000 raw rows": lambda: _readings(_key(chance, sizes), month, end),
    }


def _key(chance: random.Random, sizes: Sizes) -> str:
    return f"bench-{chance.randint(1, sizes.devices)}"


def _one(chance: random.Random) -> list[str]:
    return [f"value-{chance.randrange(DATAPOINTS)}"]


def _latest(number: int) -> Callable[[asyncpg.Pool], Awaitable[object]]:
    return lambda pool: QueryRepository(pool).latest([number])


def _series(
    device: str, datapoints: list[str], start: datetime, end: datetime
) -> Callable[[asyncpg.Pool], Awaitable[object]]:
    query = SeriesQuery.model_validate({"datapoint": datapoints, "from": start, "to": end, "points": 500})

    def ask(pool: asyncpg.Pool) -> Awaitable[object]:
        repository = QueryRepository(pool)
        return SeriesQueries(repository, DeviceQueries(repository)).series(device, query)

    return ask


def _readings(device: str, start: datetime, end: datetime) -> Callable[[asyncpg.Pool], Awaitable[object]]:
    query = ReadingsQuery.model_validate({"from": start, "to": end, "limit": 1000})

    def ask(pool: asyncpg.Pool) -> Awaitable[object]:
        repository = QueryRepository(pool)
        return ReadingQueries(repository, DeviceQueries(repository)).page(device, query)

    return ask


async def pool_of(dsn: Dsn) -> asyncpg.Pool:
    settings = DatabaseSettings(database_url=dsn.url, database_password=dsn.password, database_pool_size=2)
    return await create_pool(settings, application_name="benchmark")


def _add(report: Report, name: str, figures: dict[str, float], unit: str) -> None:
    report.add(f"{name}, hypertable", figures["hypertable"], unit, reference=figures["plain"])
