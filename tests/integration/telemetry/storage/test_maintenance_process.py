"""The maintenance process as it is started: it serves health, outlives the database and any kill, and drains."""

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx2
import pytest
from storage_builders import Row, eventually

from iotistic.kernel.process import pick_port

NOW = datetime.now(UTC).replace(microsecond=0)
HOURS_AGO = NOW.replace(minute=0, second=0) - timedelta(hours=3)
ALL_ROLLED = "SELECT count(*) = 0 FROM rollup_pending"


@asynccontextmanager
async def maintenance(environment, port):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "maintenance"),
        env=os.environ
        | environment
        | {"METRICS_PORT": str(port), "ROLLUP_INTERVAL_S": "0.05", "LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def answer(port, path, *, status, within_s=20):
    async with asyncio.timeout(within_s), httpx2.AsyncClient(verify=False) as client:
        while True:
            try:
                response = await client.get(f"http://127.0.0.1:{port}{path}")
            except httpx2.TransportError:
                response = None
            if response is not None and response.status_code == status:
                return response
            await asyncio.sleep(0.05)


@pytest.fixture
def port():
    return pick_port(0)


async def test_it_makes_partitions_rolls_and_shows_figures(database, connection, sink, port):
    await sink.store([Row(HOURS_AGO + timedelta(seconds=i), 1, 1, float(i)) for i in range(5)], now=NOW)

    async with maintenance(database.environment(), port):
        await answer(port, "/health/ready", status=200)
        await eventually("SELECT count(*) = 1 FROM decoded_1h", connection)
        tomorrow = f"decoded_data_{NOW + timedelta(days=1):%Y%m%d}"
        await eventually(f"SELECT to_regclass('{tomorrow}') IS NOT NULL", connection)
        metrics = (await answer(port, "/metrics", status=200)).text

    for figure in (
        "iotistic_rollup_lag_seconds",
        "iotistic_rollup_pending",
        "iotistic_partitions_made_total",
    ):
        assert figure in metrics


async def test_it_starts_without_a_database_and_says_so(port):
    away = {"DATABASE_URL": f"postgresql://iotistic@127.0.0.1:{pick_port(0)}/iotistic"}

    async with maintenance(away, port) as child:
        await answer(port, "/health/live", status=200)
        problem = (await answer(port, "/health/ready", status=503)).json()
        child.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(child.wait(), 10)

    assert problem["checks"]["database"].startswith("database.unavailable")
    assert status == 0


async def test_it_goes_on_when_its_connections_are_cut(database, connection, sink, port):
    async with maintenance(database.environment(), port):
        await answer(port, "/health/ready", status=200)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'iotistic-maintenance' AND datname = current_database()"
        )
        await sink.store([Row(HOURS_AGO, 1, 1, 1.0)], now=NOW)

        await eventually(ALL_ROLLED, connection)


async def test_kills_at_any_point_leave_rollups_right(database, connection, sink, rollups, port):
    chance = random.Random(3)

    async def pour(batch: int) -> None:
        start = HOURS_AGO + timedelta(minutes=chance.randrange(60))
        await sink.store(
            [Row(start + timedelta(seconds=i), 1, batch % 5, float(i)) for i in range(60)], now=NOW
        )

    for batch in range(6):
        async with maintenance(database.environment(), port) as child:
            await answer(port, "/health/live", status=200)
            await pour(batch)
            await pour(batch)
            await asyncio.wait({asyncio.create_task(child.wait())}, timeout=chance.random() / 10)
            child.kill()
    async with maintenance(database.environment(), port):
        await eventually(ALL_ROLLED, connection)
        await eventually("SELECT count(*) = 0 FROM rollup_pending_hours", connection)

    for unit in ("minute", "hour"):
        stored, right = await rollups(unit)
        assert stored == right


async def test_sigterm_ends_it_in_good_order(database, port):
    async with maintenance(database.environment(), port) as child:
        await answer(port, "/health/ready", status=200)
        child.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(child.communicate(), 15)

    assert child.returncode == 0
    assert b"maintenance.stopped" in log
    assert b"Traceback" not in log


@pytest.mark.slow
async def test_a_term_during_a_held_round_gives_the_round_up(database, connection, sink, port):
    await sink.store([Row(HOURS_AGO, 1, 1, 1.0)], now=NOW)
    holder = await asyncpg.connect(**database.options())
    await connection.execute("SELECT ensure_rollup_partitions(ARRAY[now()])")
    await holder.execute("BEGIN; LOCK TABLE decoded_1m IN EXCLUSIVE MODE")

    async with maintenance(database.environment(), port) as child:
        await eventually("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", connection)
        child.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(child.wait(), 20)
    await holder.close()

    assert status == 0
    assert await connection.fetchval("SELECT count(*) FROM rollup_pending") == 1


async def test_one_run_from_the_command_line_does_everything_that_is_due(database, connection, sink):
    await sink.store([Row(HOURS_AGO, 1, 1, 1.0)], now=NOW)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "db", "maintain", "--json"),
        env=os.environ | database.environment(),
        stdout=asyncio.subprocess.PIPE,
    )

    out, _ = await asyncio.wait_for(child.communicate(), 30)

    assert child.returncode == 0
    assert json.loads(out)["rolled"]["stored"] == 2
    assert await connection.fetchval(ALL_ROLLED)


async def test_it_is_ready_again_after_the_first_work_that_succeeds_and_not_after_the_last(
    database, connection, sink, port
):
    await sink.store([Row(HOURS_AGO, device_id, 1, 1.0) for device_id in range(900)], now=NOW)
    await connection.execute("ALTER TABLE rollup_state RENAME TO away")
    slowly = database.environment() | {"ROLLUP_LATE_PER_ROUND": "1"}
    async with maintenance(slowly, port):
        problem = (await answer(port, "/health/ready", status=503)).json()
        await connection.execute("ALTER TABLE away RENAME TO rollup_state")
        await answer(port, "/health/ready", status=200)
        left = await connection.fetchval("SELECT count(*) FROM rollup_pending")

    assert problem["checks"]["maintenance"].startswith("maintenance.failing")
    assert left > 0
