"""The list of devices among many: filtered, sorted and searched pages from the database that serves them.

100,000 devices (10,000 when quick) in 50 fleets, a tenth of them away, with tags and reports. Pages of 50 are
asked for as the route asks: one statement, its total counted. What presence and metrics cost is measured beside
it: a round of leases, and samples written together.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg

from benchmarks.framework import Report, at_least, at_most, percentile
from benchmarks.installation import Installation, installation
from iotistic.control.devicemetrics.recorder import MetricsRecorder
from iotistic.control.devices.fleet_schemas import list_answer
from iotistic.control.devices.listing import Order, Page, page
from iotistic.control.devices.selection import DeviceFilter, Operator, TagSelector
from iotistic.control.presence.model import Sign
from iotistic.control.presence.service import Presence
from iotistic.control.presence.settings import PresenceSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool

_FILL = """
INSERT INTO fleet_devices (uuid, name, type, fleet_id, mac_address, os_version, agent_version, created_at)
SELECT gen_random_uuid(), (ARRAY['press', 'pump', 'Boiler', 'gate', 'lift'])[1 + n % 5] || ' ' || n,
       (ARRAY['gateway', 'sensor', 'standalone'])[1 + n % 3], 'fleet-' || n % 50,
       substr(m, 1, 2) || ':' || substr(m, 3, 2) || ':' || substr(m, 5, 2) || ':' || substr(m, 7, 2) || ':'
       || substr(m, 9, 2) || ':' || substr(m, 11, 2), 'Debian 12', '1.' || n % 20 || '.0',
       now() - n * interval '1 minute'
FROM (SELECT n, md5(n::text) AS m FROM generate_series(1, $1::integer) n) t
"""
_TAGS = """
INSERT INTO device_tags (device_uuid, key, value)
SELECT uuid, 'site', 'site-' || number % 200 FROM fleet_devices
UNION ALL SELECT uuid, 'line', 'l' || number % 7 FROM fleet_devices WHERE number % 2 = 0
"""
_PRESENCE = """
UPDATE device_presence p SET is_online = substr(d.mac_address, 1, 2) > '1a', seen_at = now() - d.number % 300 * interval '1 second',
    lease_until = now() + interval '1 hour' FROM fleet_devices d WHERE d.uuid = p.device_uuid
"""
_REPORTS = """
INSERT INTO device_states (device_uuid, fields, reported_at) SELECT uuid, $1::text::jsonb, now() FROM fleet_devices
"""
_FIELDS = {
    "version": 3,
    "apps": {str(n): {"appName": f"app {n}", "services": [{"serviceName": "web"}] * 3} for n in range(3)},
    "cpu_usage": 12.5,
    "memory_usage": 512_000_000,
    "memory_total": 1_024_000_000,
    "top_processes": [{"pid": n, "name": f"process-{n}", "cpu": 1.5, "mem": 2.5} for n in range(10)],
}


def run(quick: bool, report: Report) -> None:
    count, rounds = (10_000, 20) if quick else (100_000, 60)
    with installation(workers=0) as site:
        site.run(DeviceBench(site, report, count=count, rounds=rounds).measure())


class DeviceBench:
    """One database with many devices."""

    def __init__(self, site: Installation, report: Report, *, count: int, rounds: int) -> None:
        self._site, self._report, self._count, self._rounds = site, report, count, rounds
        self._chance = random.Random(7)  # the same questions in every run

    async def measure(self) -> None:
        """Fill, ask, and write."""
        settings = DatabaseSettings(
            database_url=self._site.dsn.url,
            database_password=self._site.dsn.password,
            database_command_timeout_s=600,
        )
        pool = await create_pool(settings, application_name="bench-devices", min_size=4)
        await self._fill(pool)
        await self._list(pool)
        await self._renew(pool)
        await self._record(pool)
        pool.terminate()

    async def _fill(self, pool: asyncpg.Pool) -> None:
        await pool.execute(_FILL, self._count)
        for statement in (_TAGS, _PRESENCE):
            await pool.execute(statement)
        await pool.execute(_REPORTS, json.dumps(_FIELDS))
        await pool.execute("VACUUM ANALYZE")
        self._report.progress(f"{self._count:,} devices")

    async def _list(self, pool: asyncpg.Pool) -> None:
        filtered: list[float] = []
        for name, ask in self._questions().items():
            times: list[float] = []
            for _ in range(self._rounds):
                wanted, asked = ask()
                started = time.perf_counter()
                json.dumps(list_answer(await page(pool, wanted, asked), asked), default=str)
                times.append((time.perf_counter() - started) * 1e3)
            filtered += [] if name == "all" else times
            self._report.add(f"list, {name}: p50", percentile(times, 50), "ms")
            self._report.add(f"list, {name}: p95", percentile(times, 95), "ms")
        self._report.add("list, filtered: p50", percentile(filtered, 50), "ms")
        goal = at_most(50)
        self._report.add(f"list of {self._count:,}, filtered: p95", percentile(filtered, 95), "ms", goal=goal)
        cursor = (await page(pool, DeviceFilter(), Page())).next_cursor
        started = time.perf_counter()
        pages = 0
        while cursor and pages < self._rounds:
            cursor = (await page(pool, DeviceFilter(), Page(cursor=cursor))).next_cursor
            pages += 1
        self._report.add("next page by cursor: mean", (time.perf_counter() - started) * 1e3 / pages, "ms")

    def _questions(self) -> dict[str, Callable[[], tuple[DeviceFilter, Page]]]:
        number = self._chance.randrange
        return {
            "all": lambda: (DeviceFilter(), Page()),
            "fleet": lambda: (DeviceFilter(fleets=(f"fleet-{number(50)}",)), Page()),
            "online": lambda: (DeviceFilter(is_online=True), Page()),
            "away": lambda: (DeviceFilter(is_online=False), Page(order=Order.LAST_SEEN)),
            "away in a fleet": lambda: (
                DeviceFilter(is_online=False, fleets=(f"fleet-{number(50)}",)), Page(order=Order.LAST_SEEN_DESCENDING),
            ),
            "type and version": lambda: (
                DeviceFilter(types=("sensor",), versions=(f"1.{number(20)}.0",)), Page(order=Order.CREATED_DESCENDING),
            ),
            "tag": lambda: (
                DeviceFilter(tags=(TagSelector("site", Operator.IN, (f"site-{number(200)}",)),)), Page(),
            ),
            "two tags and online": lambda: (
                DeviceFilter(
                    is_online=True,
                    tags=(
                        TagSelector("site", Operator.IN, (f"site-{number(200)}",)),
                        TagSelector("line", Operator.EXISTS),
                    ),
                ),
                Page(),
            ),
            "without a tag": lambda: (DeviceFilter(tags=(TagSelector("line", Operator.MISSING),)), Page()),
            "part of a name": lambda: (DeviceFilter(text=f"oiler {number(self._count)}"), Page()),
            "part of a MAC": lambda: (DeviceFilter(mac=f"{number(256):02x}:{number(256):02x}"), Page()),
            "two letters": lambda: (DeviceFilter(text="zz"), Page()),
        }  # fmt: skip

    async def _renew(self, pool: asyncpg.Pool) -> None:
        presence = Presence(pool, PresenceSettings(presence_write_s=0))
        rows = await pool.fetch("SELECT uuid::text FROM fleet_devices")
        for (one,) in rows:
            presence.renew(one, Sign.POLL)
        seconds = await _timed(presence.flush)
        self._report.add("leases written down", len(rows) / seconds, "/s")
        await pool.execute("UPDATE device_presence SET lease_until = now() - interval '1 minute'")
        await pool.execute("UPDATE presence_watch SET alive_at = clock_timestamp()")
        started = time.perf_counter()
        gone = 0
        while count := await presence.sweep():
            gone += count
        self._report.add("mass disconnect: devices sent away", gone / (time.perf_counter() - started), "/s")

    async def _record(self, pool: asyncpg.Pool) -> None:
        recorder, rows = (
            MetricsRecorder(pool),
            await pool.fetch("SELECT uuid::text FROM fleet_devices LIMIT 20000"),
        )
        begun = datetime.now(UTC)
        await recorder.record(str(uuid.uuid4()), {"cpu_usage": 1}, begun)  # makes the partitions

        async def all_of_them() -> None:
            fields = {name: value for name, value in _FIELDS.items() if name != "top_processes"}
            for start in range(0, len(rows), 500):
                at = begun + timedelta(microseconds=start)
                await asyncio.gather(
                    *(recorder.record(one, fields, at) for (one,) in rows[start : start + 500])
                )

        goal = at_least(2_000)
        self._report.add(
            "samples stored, 500 reports at once", len(rows) / await _timed(all_of_them), "/s", goal=goal
        )


async def _timed(act: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await act()
    return time.perf_counter() - started
