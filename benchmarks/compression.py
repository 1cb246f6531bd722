"""Bytes for a reading and how long people wait, before and after TimescaleDB compresses a month of readings.

Compression is in the full edition only, which Debian does not have. `COMPRESSION_DATABASE_URL` names a server
of it, as a superuser (`COMPRESSION_DATABASE_PASSWORD` its password); a database is made there and dropped again.
Without it the Apache edition is asked, and the table says that it cannot. `reference` is uncompressed.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from pydantic import SecretStr

import iotistic
from benchmarks import stores
from benchmarks.framework import Goal, Report, at_most, percentile
from benchmarks.query import DATAPOINTS, DAYS, REGISTER, Sizes, load
from benchmarks.timescale import TimescaleServer
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, open_connection
from iotistic.telemetry.storage.store import read_store

_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_QUICK = Sizes(devices=20, rows_per_series=600, questions=50)
_FULL = Sizes(devices=200, rows_per_series=1000, questions=400)
_SIZE = "SELECT hypertable_size('decoded_data')::float8 / greatest(1, (SELECT count(*) FROM decoded_data))"
_COMPRESS = """
SELECT count(compress_chunk(chunk, if_not_compressed => true)) FROM show_chunks('decoded_data', older_than => $1::timestamptz) chunk
"""


def run(quick: bool, report: Report) -> None:
    with _server() as address:
        asyncio.run(_measure(address, _QUICK if quick else _FULL, report))


@contextmanager
def _server() -> Iterator[Dsn]:
    url = os.environ.get("COMPRESSION_DATABASE_URL")
    if url:
        password = SecretStr(os.environ.get("COMPRESSION_DATABASE_PASSWORD", ""))
        yield DatabaseSettings(database_url=url, database_password=password).dsn
        return
    server = TimescaleServer()
    try:
        yield server.start()
    finally:
        server.stop()


async def _measure(address: Dsn, sizes: Sizes, report: Report) -> None:
    name = f"iotistic_compression_{secrets.token_hex(4)}"
    await stores.execute(address, f"CREATE DATABASE {name}")
    dsn = address.with_database(name)
    try:
        connection = await open_connection(dsn, application_name="benchmark")
        try:
            await runner.migrate(connection, _MIGRATIONS)
            await _compare(dsn, connection, sizes, report)
        finally:
            await connection.close()
    finally:
        await stores.execute(address, f"DROP DATABASE {name} WITH (FORCE)")


async def _compare(dsn: Dsn, connection: asyncpg.Connection, sizes: Sizes, report: Report) -> None:
    store = await read_store(connection)
    report.progress(f"store: {store}")
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await connection.execute(REGISTER.format(datapoints=DATAPOINTS, devices=sizes.devices))
    await load(dsn, sizes, end, report)
    before = float(await connection.fetchval(_SIZE))
    report.add("bytes for a reading, as written", before, "bytes")
    plain = await _ask(dsn, sizes, end)
    for title, took in plain.items():
        report.add(f"{title}, as written", took, "ms", goal=_goal(title))
    if not store.compressed:
        report.add(f"not compressed: {store} cannot", 0, "")
        return
    await _compress(connection, end, report)
    after = float(await connection.fetchval(_SIZE))
    report.add("bytes for a reading, compressed", after, "bytes", reference=before)
    for title, took in (await _ask(dsn, sizes, end)).items():
        report.add(f"{title}, compressed", took, "ms", reference=plain[title], goal=_goal(title))


def _goal(title: str) -> Goal | None:
    return None if "raw rows" in title else at_most(50)


async def _compress(connection: asyncpg.Connection, end: datetime, report: Report) -> None:
    """Compress what the policy would: everything older than a week."""
    started = time.monotonic()
    chunks = await connection.fetchval(_COMPRESS, end - timedelta(days=7), timeout=3600)
    report.add("chunks compressed", chunks, f"of {DAYS}")
    report.add("time to compress them", time.monotonic() - started, "s")


async def _ask(dsn: Dsn, sizes: Sizes, end: datetime) -> dict[str, float]:
    """Return the p95 of each question in milliseconds."""
    pool = await stores.pool_of(dsn)
    found: dict[str, float] = {}
    for title, question in stores.questions(sizes, end).items():
        took_ms: list[float] = []
        for _ in range(sizes.questions):
            asked = question()
            started = time.perf_counter()
            assert await asked(pool), title
            took_ms.append((time.perf_counter() - started) * 1000)
        found[f"{title}, p95"] = percentile(took_ms, 95)
    await pool.close()
    return found
