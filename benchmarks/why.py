"""How long it takes to say why, with a million decision records of 10,000 devices in the database.

Each question is asked of devices by chance: their row, keys, certificate, target, report, attempts and records are
read, the causes are tried, and the chain is followed (every tenth record follows from another).
"""

import asyncio
import random
import time

import asyncpg

from benchmarks.database import bench_database
from benchmarks.framework import Report, at_most, percentile
from iotistic.control.why.port import About
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings

_DEVICES = 10_000
_CODES = (
    "presence.keepalive_timeout", "presence.disconnected", "rollout.halted", "rollout.rolled_back", "broker.quota",
    "state.report_too_large",
)  # fmt: skip
_ABOUTS = ("offline", "offline", "not-updated", "rolled-back", "limited", "limited")
_PART = 100_000

_DEVICES_SQL = """
INSERT INTO fleet_devices (uuid, name, type, fleet_id)
SELECT md5(n::text)::uuid, 'device ' || n, 'gateway', 'fleet-' || n % 50 FROM generate_series(1, $1) n"""
_BESIDE_SQL = (
    (
        "INSERT INTO device_targets (device_uuid, version, document, etag, deployed_at, deployed_by) SELECT uuid, 2, "
        '\'{"apps": {"7": {"appId": 7, "services": [{"serviceId": 1, "serviceName": "web", "imageName": "web:2"}]}}}\', '
        "'x', now() - interval '1 day', 'user:ada' FROM fleet_devices"
    ),
    (
        "INSERT INTO device_states (device_uuid, fields, reported_at) SELECT uuid, "
        '\'{"version": 1, "apps": {"7": {"services": [{"serviceName": "web", "serviceStatus": "pending"}]}}}\', '
        "now() - random() * interval '2 hours' FROM fleet_devices"
    ),
    (
        "INSERT INTO device_api_keys (device_uuid, prefix, digest, origin, created_at) SELECT uuid, "
        "substr(sha256(uuid::text::bytea), 1, 8), sha256(uuid::text::bytea), 'device', now() FROM fleet_devices"
    ),
    (
        "INSERT INTO provisioning_attempts (at, route, address, device_uuid, outcome) SELECT now() - interval '9 days', "
        "'register', '10.0.0.1', uuid, 'registered' FROM fleet_devices, generate_series(1, 3)"
    ),
)
_RECORDS_SQL = """
INSERT INTO why_records (at, device_uuid, about, code, source, facts, cause_id)
SELECT now() - n * interval '15 seconds', CASE WHEN n % 1000 = 0 THEN NULL ELSE md5((1 + n % $3)::text)::uuid END,
       ($5::text[])[1 + n % 6], ($4::text[])[1 + n % 6], 'bench', jsonb_build_object('limit', n % 100, 'reason', 'a rule'),
       CASE WHEN n % 10 = 0 THEN n - 5 END
FROM generate_series($1::bigint, $2::bigint) n"""


def run(quick: bool, report: Report) -> None:
    asyncio.run(_run(report, records=200_000 if quick else 1_000_000, asks=200 if quick else 2000))


async def _run(report: Report, *, records: int, asks: int) -> None:
    async with bench_database(connections=4) as (_, pool):
        await _fill(report, pool, records)
        service = WhyService(pool, WhySettings())
        chance = random.Random(7)
        uuids = [row["uuid"] for row in await pool.fetch("SELECT uuid::text FROM fleet_devices")]
        first = await _took_s(service, chance.choice(uuids), About.OFFLINE)
        report.add(f"first answer, {records:,} records", first * 1e3, "ms", goal=at_most(1000))
        for about in About:
            took = [await _took_s(service, chance.choice(uuids), about) for _ in range(asks)]
            for percent in (50, 95, 99):
                goal = at_most(1000) if percent > 50 else None
                report.add(f"why {about}, p{percent}", percentile(took, percent) * 1e3, "ms", goal=goal)


async def _took_s(service: WhyService, uuid: str, about: About) -> float:
    started = time.perf_counter()
    answer = await service.ask(uuid, about)
    if not answer.chain:
        raise RuntimeError("no answer")
    return time.perf_counter() - started


async def _fill(report: Report, pool: asyncpg.Pool, records: int) -> None:
    await pool.execute(_DEVICES_SQL, _DEVICES)
    for statement in _BESIDE_SQL:
        await pool.execute(statement)
    for first in range(1, records + 1, _PART):
        last = min(first + _PART - 1, records)
        await pool.execute(_RECORDS_SQL, first, last, _DEVICES, list(_CODES), list(_ABOUTS))
        report.progress(f"{last:,} records")
    await pool.execute("ANALYZE")
