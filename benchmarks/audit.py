"""What the audit trail costs a request, how fast it is sealed and verified.

`reference` of the writing is the other way to make a chain: each writer takes a lock, reads the last hash, and
keeps the lock until its transaction ends. Ten writers at once; each holds its transaction open for 5 ms, as a
request does between its first change and its commit.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable

import asyncpg

from benchmarks.database import bench_database
from benchmarks.framework import Report, at_least
from iotistic.control.audit.sealing import Sealer
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.audit.verifying import verify
from iotistic.kernel.postgres.pool import open_connection

_WRITERS = 10
_WORK_S = 0.005
_CHANGE = {"username": "ada", "role": "viewer", "is_active": True}

Write = Callable[[asyncpg.Connection], Awaitable[None]]


def run(quick: bool, report: Report) -> None:
    asyncio.run(_run(report, each=30 if quick else 300, sealed=5_000 if quick else 100_000))


async def _run(report: Report, *, each: int, sealed: int) -> None:
    async with bench_database(connections=_WRITERS + 2) as (dsn, pool):
        await pool.execute("CREATE TABLE chain_end (only_row boolean PRIMARY KEY, hash bytea)")
        await pool.execute("INSERT INTO chain_end VALUES (true, '\\x00')")
        locked = await _rate(pool, _locked, each)
        queued = await _rate(pool, _queued, each)
        report.add(
            "changes with an entry, a queue and a sealer",
            queued,
            "/s",
            reference=locked,
            goal=at_least(1, of="ratio"),
        )
        report.add("changes with an entry, a lock on the chain", locked, "/s")
        await _fill(pool, sealed)
        started = time.perf_counter()
        count = await Sealer(pool).seal(rounds=10_000)
        report.add("entries sealed", count / (time.perf_counter() - started), "/s")
        connection = await open_connection(dsn, application_name="bench-verify")
        started = time.perf_counter()
        verdict = await verify(connection)
        report.add("entries verified", verdict.checked / (time.perf_counter() - started), "/s")
        await connection.close()
        if not verdict.holds:
            raise RuntimeError(f"the chain broke: {verdict.first}")


async def _rate(pool: asyncpg.Pool, write: Write, each: int) -> float:
    async def writer() -> None:
        for _ in range(each):
            async with pool.acquire() as db, db.transaction():
                await write(db)
                await asyncio.sleep(_WORK_S)

    started = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(_WRITERS)))
    return _WRITERS * each / (time.perf_counter() - started)


async def _queued(db: asyncpg.Connection) -> None:
    await AuditTrail().record(db, "user:ada", "user.changed", ("user", "1"), before=_CHANGE, after=_CHANGE)


async def _locked(db: asyncpg.Connection) -> None:
    await _queued(db)
    before = await db.fetchval("SELECT hash FROM chain_end FOR UPDATE")
    after = hashlib.sha256(before + b"entry").digest()
    await db.execute("UPDATE chain_end SET hash = $1", after)


async def _fill(pool: asyncpg.Pool, count: int) -> None:
    await pool.execute(
        "INSERT INTO audit_logs (at, event_type, severity, actor_type, actor_id, aggregate_type, aggregate_id, before, "
        "after) SELECT now(), 'user.changed', 'info', 'user', 'ada', 'user', n::text, '{\"role\": \"viewer\"}', "
        '\'{"role": "admin"}\' FROM generate_series(1, $1::bigint) n',
        count,
    )
