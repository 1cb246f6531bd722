"""Processes that die in the middle, and the database that goes away."""

import asyncio
import contextlib
import os
import random
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from upkeep_builders import Upkeep, running, until

from iotistic.control.upkeep.service import UpkeepService

_OVERLAPS = """
SELECT count(*) FROM done a JOIN done b ON a.id < b.id
WHERE a.ended_at IS NOT NULL AND b.began_at < a.ended_at"""


@pytest.fixture
async def started(pool, database):
    await pool.execute(
        "CREATE TABLE done (id bigint GENERATED ALWAYS AS IDENTITY, pid integer, "
        "began_at timestamptz DEFAULT clock_timestamp(), ended_at timestamptz)"
    )
    start = time.time()
    processes = []

    async def start_one(*, speed=1, slow_s=0.0):
        environment = os.environ | {
            "DATABASE_URL": database.url,
            "DATABASE_PASSWORD": database.password.get_secret_value(),
            "START": str(start),
            "SPEED": str(speed),
            "SLOW_S": str(slow_s),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("upkeep_process.py")),
            env=environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        return process

    yield start_one
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_run_whose_process_is_killed_ends_as_lost_and_is_done_again_by_another(pool, started):
    service = UpkeepService(pool)
    victim = await started(slow_s=60)
    await until(lambda: pool.fetchval("SELECT count(*) FROM done"))
    victim.kill()
    await victim.wait()
    await started()
    await until(lambda: pool.fetchval("SELECT count(*) FROM upkeep_runs WHERE outcome = 'succeeded'"))
    *_, again, lost = await service.runs("sweep")

    assert (lost.outcome, lost.error_code, lost.cause) == ("lost", "upkeep.lost", "schedule")
    assert (again.outcome, again.cause) == ("succeeded", "retry")
    assert lost.process != again.process


async def test_two_processes_that_are_killed_again_and_again_never_work_at_the_same_time(pool, started):
    """One run at a time, whoever dies when; what ended is written, and nothing stays open."""
    chance = random.Random(11)
    processes = [await started(speed=120, slow_s=0.2) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(chance.uniform(0.3, 1.2))
        victim = processes.pop(0)
        victim.kill()
        await victim.wait()
        processes.append(await started(speed=120, slow_s=0.2))
    before = await pool.fetchval("SELECT count(*) FROM upkeep_runs WHERE outcome = 'succeeded'")
    await until(
        lambda: pool.fetchval("SELECT count(*) > $1 FROM upkeep_runs WHERE outcome = 'succeeded'", before + 2)
    )
    for process in processes:
        process.kill()
        await process.wait()
    counts = dict(await pool.fetch("SELECT outcome, count(*) FROM upkeep_runs GROUP BY outcome"))
    ended = await pool.fetchval("SELECT count(*) FROM done WHERE ended_at IS NOT NULL")

    assert await pool.fetchval(_OVERLAPS) == 0
    assert ended - counts["succeeded"] in (0, 1, 2, 3, 4, 5)  # died between the work and its being written
    assert counts.get("running", 0) <= 1
    assert await pool.fetchval(
        "SELECT count(*) = count(DISTINCT due_at) FROM upkeep_runs WHERE cause = 'schedule'"
    )


async def test_a_database_that_goes_away_ends_no_keeper(pool):
    upkeep = Upkeep(pool, upkeep_lease_s=1)
    async with running(upkeep.keeper(upkeep.task(schedule="every 1 s", is_soon=True))) as task:
        await until(lambda: _done(upkeep, 1))
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        before = upkeep.work.done
        await until(lambda: _advanced(upkeep, before))

        assert not task.done()


async def _done(upkeep, least):
    return upkeep.work.done >= least


async def _advanced(upkeep, before):
    upkeep.now += timedelta(seconds=1)
    return upkeep.work.done > before


async def test_a_keeper_that_cannot_say_that_it_goes_on_gives_up(pool):
    upkeep = Upkeep(pool, upkeep_lease_s=1)
    upkeep.work.goes_on.clear()
    keeper = upkeep.keeper(upkeep.task(is_soon=True))
    await keeper.look()
    await upkeep.work.began.wait()
    async with pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE upkeep_runs IN ACCESS EXCLUSIVE MODE")
        await until(lambda: _given_up(upkeep), within_s=5)

    assert upkeep.work.given_up == 1


async def _given_up(upkeep):
    return upkeep.work.given_up > 0
