"""What a person waits for: latest values and series, asked through the API of a database that holds a month.

1,000 devices with 10 datapoints each, 30 days, 50 million rows in order of time, as ingest writes them; one
asker, a new device each time. `--quick` has fewer devices and rows. Rows and rollups are written by SQL: with
one row of a series in 518 s, every minute that has a row has one, so its rollup is that row.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2

from benchmarks.framework import Report, at_most, percentile
from benchmarks.installation import Installation, installation
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection

DATAPOINTS = 10
DAYS = 30
_POINTS = 500
_LOADERS = 2
_GOAL_MS = 50

REGISTER = """
WITH template AS (
    INSERT INTO devicetemplates (name, devicetypeid) SELECT 'Bench', id FROM devicetypes WHERE typename = 'Generic'
    RETURNING id
), points AS (
    INSERT INTO datapoints (devicetemplateid, label, append)
    SELECT template.id, 'value-' || n, 'V' FROM template, generate_series(0, {datapoints} - 1) n RETURNING id
), made AS (
    INSERT INTO devices (devicename, externalkey, devicetemplateid)
    SELECT 'bench ' || n, 'bench-' || n, template.id FROM template, generate_series(1, {devices}) n RETURNING id
)
INSERT INTO device_datapoints SELECT made.id, points.id FROM made, points
"""
# Row k of a series comes k steps after the start, and every series has its own place within the step.
_ROWS = """
INSERT INTO decoded_data ("timestamp", device_id, datapoint_id, value, received_at)
SELECT step + (s.place * $3 / s.places) * interval '1 microsecond', s.device_id, s.datapoint_id,
       20 + 5 * sin(extract(epoch FROM step)::float8 / 8000 + s.place) + random(), step
FROM generate_series($1::timestamptz, $2::timestamptz - interval '1 microsecond', $3 * interval '1 microsecond') step
CROSS JOIN (
    SELECT device_id, datapoint_id, row_number() OVER (ORDER BY device_id, datapoint_id) - 1 AS place,
           count(*) OVER () AS places
    FROM device_datapoints
) s
"""
_MINUTES = """
INSERT INTO decoded_1m
SELECT date_trunc('minute', "timestamp", 'UTC'), device_id, datapoint_id, min(value), max(value), avg(value), count(*)
FROM decoded_data WHERE "timestamp" >= $1 AND "timestamp" < $2
GROUP BY 1, 2, 3
"""
_HOURS = """
INSERT INTO decoded_1h
SELECT date_trunc('hour', bucket, 'UTC'), device_id, datapoint_id, min(min), max(max), sum(avg * count) / sum(count),
       sum(count)
FROM decoded_1m WHERE bucket >= $1 AND bucket < $2
GROUP BY 1, 2, 3
"""
_ROLLED = "UPDATE rollup_state SET rolled_until = $1, hours_rolled_until = $1"


@dataclass(frozen=True)
class Sizes:
    """How much data, and how many questions of each kind."""

    devices: int
    rows_per_series: int
    questions: int


QUICK = Sizes(devices=50, rows_per_series=600, questions=100)
FULL = Sizes(devices=1000, rows_per_series=5000, questions=500)


def run(quick: bool, report: Report) -> None:
    sizes = QUICK if quick else FULL
    with installation(workers=0) as site:
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        started = time.monotonic()
        site.execute(REGISTER.format(datapoints=DATAPOINTS, devices=sizes.devices))
        site.run(load(site.dsn, sizes, end, report))
        rows = int(str(site.scalar("SELECT count(*) FROM decoded_data")))
        report.add("rows loaded", rows, "rows")
        report.progress(f"loaded and rolled up in {time.monotonic() - started:.0f} s")
        _ask(site, sizes, end, report)


async def load(dsn: Dsn, sizes: Sizes, end: datetime, report: Report) -> None:
    """Write the days in turn, by two connections, then the rollups' watermarks."""
    days = [end - timedelta(days=DAYS - n) for n in range(DAYS)]
    step_us = DAYS * 86_400_000_000 // sizes.rows_per_series
    connection = await open_connection(dsn, application_name="bench-load")
    await connection.execute("SELECT ensure_partitions($1::date[])", [day.date() for day in (*days, end)])
    await connection.execute("SELECT ensure_rollup_partitions($1::timestamptz[])", [*days, end])
    waiting = list(reversed(days))
    await asyncio.gather(*(_load_days(dsn, waiting, step_us, report) for _ in range(_LOADERS)))
    await connection.execute(_ROLLED, end)
    await connection.execute("ANALYZE")
    await connection.close()


async def _load_days(dsn: Dsn, waiting: list[datetime], step_us: int, report: Report) -> None:
    connection = await open_connection(dsn, application_name="bench-load")
    # The figures are about reading; a crash of this throwaway database would only mean to start over.
    await connection.execute("SET synchronous_commit = off")
    while waiting:
        day = waiting.pop()
        next_day = day + timedelta(days=1)
        await connection.execute(_ROWS, day, next_day, step_us)
        await connection.execute(_MINUTES, day, next_day)
        await connection.execute(_HOURS, day, next_day)
        report.progress(f"{day:%Y-%m-%d} written, {len(waiting)} days to go")
    await connection.close()


def _ask(site: Installation, sizes: Sizes, end: datetime, report: Report) -> None:
    base = f"{site.start_api()}/api/v1/telemetry"
    token = site.home.api_token.read_text(encoding="utf-8").strip()
    chance = random.Random(7)
    month = {"from": (end - timedelta(days=DAYS)).isoformat(), "to": end.isoformat()}

    def device() -> str:
        return f"/devices/bench-{chance.randint(1, sizes.devices)}"

    def day() -> dict[str, str]:
        start = end - timedelta(seconds=chance.randint(86_400, DAYS * 86_400))
        return {"from": start.isoformat(), "to": (start + timedelta(days=1)).isoformat()}

    def series(span: dict[str, str], datapoints: list[int]) -> tuple[str, dict[str, object]]:
        labels = [f"value-{n}" for n in datapoints]
        return f"{device()}/series", {"datapoint": labels, "points": _POINTS, **span}

    def one() -> list[int]:
        return [chance.randrange(DATAPOINTS)]

    questions: dict[str, Callable[[], tuple[str, dict[str, object]]]] = {
        "latest of a device": lambda: (f"{device()}/latest", {}),
        "one day at 500 points": lambda: series(day(), one()),
        "30 days at 500 points": lambda: series(month, one()),
        "30 days, all 10 datapoints": lambda: series(month, list(range(DATAPOINTS))),
        "1,000 raw rows": lambda: (f"{device()}/readings", {"limit": 1000, **month}),
    }
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for name, question in questions.items():
            took_ms = [_timed_ms(client, base, *question()) for _ in range(sizes.questions)]
            goal = at_most(_GOAL_MS) if list(questions).index(name) < 3 else None
            report.add(f"{name}, p50", percentile(took_ms, 50), "ms")
            report.add(f"{name}, p95", percentile(took_ms, 95), "ms", goal=goal)
        report.add("list of 100 devices", _timed_ms(client, base, "/devices", {}), "ms")


def _timed_ms(client: httpx2.Client, base: str, path: str, parameters: dict[str, object]) -> float:
    started = time.perf_counter()
    answer = client.get(base + path, params=parameters)
    took_ms = (time.perf_counter() - started) * 1000
    answer.raise_for_status()
    items = answer.json()
    assert items.get("items") or items["series"][0]["buckets"], path
    return took_ms
