"""Schedules: every moment has one job, whatever becomes of processes and clocks."""

import asyncio
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from device_cloud import code_of
from job_cloud import HandClock, JobCloud, document, order, served
from job_keeper_process import fast_clock

KILLS = int(os.environ.get("FAULT_KILLS", "5"))
START = datetime(2026, 5, 17, 10, 0, 30, tzinfo=UTC)


@pytest.fixture
async def cloud(pool):
    async with served(JobCloud(pool, HandClock(START))) as cloud:
        yield cloud


async def schedule(cloud, **changes):
    body = order(**{"cron_expression": "*/10 * * * *", **changes})
    answer = await cloud.ask("POST", "/jobs/schedules", body)
    assert answer.status_code == 201, answer.text
    return answer.json()["schedule"]


async def seen(cloud, made):
    return (await cloud.ask("GET", f"/jobs/schedules/{made['schedule_id']}")).json()["schedule"]


async def moments(cloud):
    rows = await cloud.pool.fetch(
        "SELECT due_at FROM job_executions WHERE due_at IS NOT NULL ORDER BY due_at"
    )
    return [row["due_at"].strftime("%H:%M") for row in rows]


async def test_each_moment_makes_a_job_for_the_devices_of_that_time(cloud):
    first = await cloud.device()
    made = await schedule(cloud)
    await cloud.tick(minutes=10)
    second = await cloud.device()
    await cloud.tick(minutes=10)
    asked = [(await device.next())["job_id"] for device in (first, second)]
    listed = (await cloud.ask("GET", f"/jobs/schedules/{made['schedule_id']}/executions")).json()[
        "executions"
    ]

    assert await moments(cloud) == ["10:10", "10:20"]
    assert [one["summary"]["total"] for one in listed] == [2, 1]
    assert asked == [listed[1]["job_id"], listed[0]["job_id"]]
    assert listed[0]["execution_type"] == "recurring"
    assert (await seen(cloud, made))["next_due_at"] == "2026-05-17T10:30:00.000Z"


async def test_what_recurs_by_its_order_or_its_document_is_a_schedule_and_the_device_gets_it_bare(cloud):
    device = await cloud.device()
    await cloud.execute(execution_type="recurring", schedule={"interval_minutes": 5}, max_executions=1)
    own = document(executionType="recurring", schedule={"intervalMinutes": 7}, maxExecutions=2)
    job = await cloud.execute(job_document=own)
    await cloud.tick(minutes=6)
    asked = await device.next()
    hinted = await cloud.ask("GET", f"/jobs/executions/{job['job_id']}")

    assert (job["interval_minutes"], job["max_executions"], job["status"]) == (7, 2, "QUEUED")
    assert asked["job_document"] == document()
    assert "schedules" in hinted.json()["hint"]


async def test_moments_that_passed_are_made_up_for_once_and_counted(cloud):
    await cloud.device()
    made = await schedule(cloud)
    await cloud.tick(hours=2)
    await cloud.tick(minutes=10)

    assert await moments(cloud) == ["12:00", "12:10"]
    assert {name: (await seen(cloud, made))[name] for name in ("executions", "missed")} == {
        "executions": 2,
        "missed": 11,
    }


async def test_a_clock_that_jumps_ahead_and_back_skips_and_repeats_nothing(cloud):
    await cloud.device()
    made = await schedule(cloud)
    await cloud.tick(minutes=10)
    await cloud.tick(hours=5)
    await cloud.tick(hours=-5)
    for _ in range(4):
        await cloud.tick(minutes=5)

    assert await moments(cloud) == ["10:10", "10:20", "10:30", "15:10"]
    cloud.clock.now = START.replace(hour=15, minute=0)
    await cloud.tick()
    await cloud.tick(minutes=11)
    await cloud.tick(minutes=10)
    assert (await moments(cloud))[-3:] == ["15:00", "15:10", "15:20"]
    assert {name: (await seen(cloud, made))[name] for name in ("executions", "missed")} == {
        "executions": 6,
        "missed": 26,
    }


async def test_a_clock_that_is_set_back_repeats_nothing(cloud):
    await cloud.device()
    await schedule(cloud)
    for minutes in (10, -10, 10, -10, 5, 5, 10):
        await cloud.tick(minutes=minutes)

    assert await moments(cloud) == ["10:10", "10:20"]


async def test_many_keepers_make_one_job_of_each_moment(cloud):
    for _ in range(3):
        await cloud.device()
    for _ in range(5):
        await schedule(cloud)
    keepers = [cloud.another_keeper() for _ in range(4)]
    for _ in range(6):
        cloud.clock.forward(minutes=10)
        await asyncio.gather(*(keeper.schedule() for keeper in keepers))

    assert await cloud.pool.fetchval("SELECT count(*) FROM job_executions") == 5 * 6
    assert await cloud.pool.fetchval("SELECT count(*) FROM device_job_status") == 5 * 6 * 3
    assert await cloud.pool.fetchval("SELECT sum(executions) FROM scheduled_jobs") == 5 * 6


async def test_a_schedule_ends_after_its_number_or_its_time(cloud):
    await cloud.device()
    counted = await schedule(cloud, max_executions=2)
    timed = await schedule(cloud, ends_at=(START + timedelta(minutes=35)).isoformat())
    for _ in range(6):
        await cloud.tick(minutes=10)
    ends = [await seen(cloud, made) for made in (counted, timed)]

    assert [(one["executions"], one["next_due_at"]) for one in ends] == [(2, None), (3, None)]


async def test_a_paused_schedule_makes_nothing_and_goes_on_from_now(cloud):
    await cloud.device()
    made = await schedule(cloud)
    path = f"/jobs/schedules/{made['schedule_id']}"
    await cloud.ask("POST", f"{path}/pause")
    await cloud.tick(hours=1)
    resumed = (await cloud.ask("POST", f"{path}/resume")).json()["schedule"]
    await cloud.tick(minutes=10)

    assert await moments(cloud) == ["11:10"]
    assert (resumed["missed"], resumed["next_due_at"]) == (0, "2026-05-17T11:10:00.000Z")


async def test_a_schedule_is_changed_listed_and_removed(cloud):
    await cloud.device()
    made = await schedule(cloud, time_zone="Europe/Vienna", cron_expression="0 3 * * *")
    path = f"/jobs/schedules/{made['schedule_id']}"
    changed = await cloud.ask("PATCH", path, {"interval_minutes": 30, "job_name": "other"})
    await cloud.tick(minutes=30)
    listed = (await cloud.ask("GET", "/jobs/schedules?is_active=true")).json()["schedules"]
    standing = (await cloud.ask("GET", "/jobs/scheduler/status")).json()
    removed = await cloud.ask("DELETE", path)
    gone = await cloud.ask("GET", path)
    jobs = (await cloud.ask("GET", "/jobs/executions")).json()["executions"]

    assert made["next_due_at"] == "2026-05-18T01:00:00.000Z"
    assert [
        changed.json()["schedule"][name] for name in ("schedule_type", "interval_minutes", "job_name")
    ] == [
        "interval",
        30,
        "other",
    ]
    assert [one["schedule_id"] for one in listed] == [made["schedule_id"]]
    assert (standing["active_schedules"], standing["due_schedules"]) == (1, 0)
    assert removed.status_code == 200
    assert code_of(gone) == (404, "job.schedule_unknown")
    assert [one["job_name"] for one in jobs] == ["other"]


async def test_a_round_that_selects_nobody_is_over_and_says_so(cloud):
    made = await schedule(cloud, target_type="group", target_filter={"tags": {"line": "a"}})
    await cloud.tick(minutes=10)
    listed = (await cloud.ask("GET", f"/jobs/schedules/{made['schedule_id']}/executions")).json()[
        "executions"
    ]

    assert [(one["status"], one["reason"]) for one in listed] == [("SUCCEEDED", "no device was selected")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cron_expression": "61 * * * *"}, "job.schedule_invalid"),
        ({"cron_expression": "* * * * * *"}, "job.schedule_invalid"),
        ({"cron_expression": "0 0 30 2 *"}, "job.schedule_invalid"),
        ({"cron_expression": "x'; DROP TABLE scheduled_jobs; --"}, "job.schedule_invalid"),
        ({"time_zone": "Europe/Nowhere"}, "job.schedule_invalid"),
        ({"time_zone": "../../etc/passwd"}, "job.schedule_invalid"),
        ({"interval_minutes": 5}, "job.order_invalid"),
        ({"cron_expression": None}, "job.order_invalid"),
        ({"ends_at": "2026-01-01T00:00:00Z"}, "job.order_invalid"),
        ({"ends_at": "9999-01-01T00:00:00Z"}, "job.order_invalid"),
        ({"ends_at": "2026-05-17T10:05:00Z"}, "job.schedule_invalid"),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused(cloud, changes, code):
    answer = await cloud.ask(
        "POST", "/jobs/schedules", order(**{"cron_expression": "*/10 * * * *", **changes})
    )

    assert code_of(answer) == (400, code)
    assert await cloud.pool.fetchval("SELECT count(*) FROM scheduled_jobs") == 0


@pytest.mark.slow
async def test_keepers_that_are_killed_leave_no_moment_without_account(pool, database):
    """Each moment has a job with all its devices, or is counted as missed; none has two."""
    start, speed = time.time(), 900.0
    clock = fast_clock(start, speed)
    async with served(JobCloud(pool, clock)) as cloud:
        for _ in range(5):
            await cloud.device()
        for _ in range(3):
            await schedule(cloud, cron_expression="* * * * *")
        environment = {
            **os.environ,
            "DATABASE_URL": database.url,
            "DATABASE_PASSWORD": database.password.get_secret_value(),
            "START": str(start),
            "SPEED": str(speed),
        }
        chance = random.Random(7)
        keepers = [await started(environment) for _ in range(2)]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            victim = keepers.pop(0)
            victim.kill()
            await victim.wait()
            keepers.append(await started(environment))
        for keeper in keepers:
            keeper.kill()
            await keeper.wait()
        rows = await pool.fetch(
            "SELECT s.executions, s.missed, s.begins_at, s.last_due_at, s.next_due_at, count(j.id) AS jobs, "
            "count(DISTINCT j.due_at) AS moments, count(*) FILTER (WHERE j.opened_at IS NULL) AS unopened "
            "FROM scheduled_jobs s JOIN job_executions j ON j.schedule_id = s.id GROUP BY s.id"
        )
        parts = await pool.fetch("SELECT count(*) FROM device_job_status GROUP BY job_id")

    assert len(rows) == 3
    for row in rows:
        first = row["begins_at"].replace(second=0, microsecond=0) + timedelta(minutes=1)
        passed = (row["last_due_at"] - first) // timedelta(minutes=1) + 1
        assert row["jobs"] == row["moments"] == row["executions"] > 10
        assert row["executions"] + row["missed"] == passed
        assert row["next_due_at"] == row["last_due_at"] + timedelta(minutes=1)
        assert row["unopened"] == 0
    assert {row["count"] for row in parts} == {5}


async def started(environment):
    script = Path(__file__).with_name("job_keeper_process.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
    return process
