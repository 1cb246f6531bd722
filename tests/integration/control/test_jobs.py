"""Jobs from the order to the end, over HTTP as people and devices see them, on a real PostgreSQL."""

import asyncio
from datetime import timedelta

import pytest
from device_cloud import code_of
from job_cloud import JobCloud, JobDevice, document, order, served

from iotistic.control.access.routing import check_routes
from iotistic.kernel.web.problems import PlanRefused


@pytest.fixture
async def cloud(pool):
    async with served(JobCloud(pool)) as cloud:
        yield cloud


async def test_a_job_for_all_runs_on_every_device_that_is_on(cloud):
    here, there = await cloud.device(), await cloud.device()
    away = await cloud.device(is_active=False)
    job = await cloud.execute(timeout_minutes=5)
    asked = await here.next()
    began = await here.told(job, "IN_PROGRESS")
    under_way = await cloud.status(job)
    ended = await here.told(job, "SUCCEEDED", exit_code=0, stdout="hello\n", executed_steps=1)
    half = await cloud.status(job)
    await there.told(job, "IN_PROGRESS")
    await there.told(job, "SUCCEEDED")

    assert {name: asked[name] for name in ("job_id", "job_name", "timeout_seconds")} == {
        "job_id": job["job_id"],
        "job_name": "greet",
        "timeout_seconds": 300,
    }
    assert asked["job_document"] == document()
    assert (began, under_way, ended, half) == ("IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED", "IN_PROGRESS")
    assert (await cloud.job(job))["job"]["summary"] == {
        "total": 2,
        "queued": 0,
        "in_progress": 0,
        "succeeded": 2,
        "failed": 0,
        "timed_out": 0,
        "rejected": 0,
        "canceled": 0,
    }
    assert await cloud.status(job) == "SUCCEEDED"
    assert (await here.part(job))["stdout"] == "hello\n"
    assert await here.next() is None
    assert (
        await cloud.pool.fetchval("SELECT count(*) FROM device_job_status WHERE device_uuid = $1", away.uuid)
        == 0
    )


async def test_a_job_is_not_over_while_a_device_has_not_begun(cloud):
    """Lesson 15: a job was SUCCEEDED as soon as nobody was in progress."""
    first, _second = await cloud.device(), await cloud.device()
    job = await cloud.execute()
    await first.told(job, "IN_PROGRESS")
    await first.told(job, "SUCCEEDED")

    assert await cloud.status(job) == "IN_PROGRESS"


async def test_the_last_two_devices_ending_at_once_end_the_job(cloud):
    devices = [await cloud.device() for _ in range(8)]
    for _ in range(5):
        job = await cloud.execute()
        await asyncio.gather(*(device.told(job, "SUCCEEDED") for device in devices))
        assert await cloud.status(job) == "SUCCEEDED"


async def test_the_worst_part_is_what_a_job_comes_to(cloud):
    one, two, three = [await cloud.device() for _ in range(3)]
    job = await cloud.execute()
    await one.told(job, "SUCCEEDED")
    await two.told(job, "REJECTED", reason="condition architecture: is 'armv7l', not one of x86_64")
    await three.told(job, "FAILED", failed_step="run", exit_code=3)

    assert await cloud.status(job) == "FAILED"
    assert (await two.part(job))["reason"].startswith("condition architecture")
    assert (await three.part(job))["failed_step"] == "run"


async def test_a_device_that_was_away_gets_its_jobs_in_their_order(cloud):
    device = await cloud.device()
    first = await cloud.execute(job_name="first")
    await cloud.tick(hours=1)
    second = await cloud.execute(job_name="second")
    await cloud.tick(days=2)
    again = [(await device.next())["job_id"] for _ in range(2)]
    await device.told(first, "IN_PROGRESS")
    following = (await device.next())["job_id"]

    assert again == [first["job_id"]] * 2
    assert following == second["job_id"]


async def test_late_doubled_and_reordered_reports_change_nothing(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    ended = await device.told(job, "SUCCEEDED", stdout="done", number=1)
    late = await device.told(job, "IN_PROGRESS", number=1, executed_steps=0)
    doubled = await device.told(job, "SUCCEEDED", stdout="done twice", number=1)
    other = await device.told(job, "FAILED", number=1, reason="of another road")
    part = await device.part(job)

    assert (ended, late, doubled, other) == ("SUCCEEDED",) * 4
    assert (part["status"], part["stdout"], part["reason"]) == ("SUCCEEDED", "done", "")
    assert await cloud.status(job) == "SUCCEEDED"


async def test_a_failed_try_is_followed_by_another_after_a_pause(cloud):
    device = await cloud.device()
    job = await cloud.execute(max_attempts=3, retry_backoff_seconds=60)
    await device.told(job, "IN_PROGRESS", number=1)
    failed = await device.told(job, "FAILED", number=1, reason="exit code 1", stderr="oops")
    at_once = await device.next()
    await cloud.tick(seconds=61)
    second = await device.next()
    stale = await device.told(job, "FAILED", number=1)
    nameless = await device.report(job, "FAILED")
    await device.told(job, "IN_PROGRESS", number=2)
    await device.told(job, "FAILED", number=2)
    await cloud.tick(seconds=61)
    too_early = await device.next()
    await cloud.tick(seconds=60)
    third = await device.next()
    ended = await device.told(job, "SUCCEEDED", number=3)
    future = await device.report(job, "SUCCEEDED", number=4)

    assert (failed, at_once, stale, too_early, ended) == ("QUEUED", None, "QUEUED", None, "SUCCEEDED")
    assert (second["execution_number"], third["execution_number"]) == (2, 3)
    assert code_of(nameless) == (409, "job.report_out_of_turn")
    assert code_of(future) == (400, "job.report_invalid")
    assert await cloud.status(job) == "SUCCEEDED"


async def test_tries_that_are_used_up_end_the_part(cloud):
    device = await cloud.device()
    job = await cloud.execute(max_attempts=2, retry_backoff_seconds=1)
    for number in (1, 2):
        await device.told(job, "IN_PROGRESS", number=number)
        await device.told(job, "FAILED", number=number)
        await cloud.tick(seconds=2)

    assert await cloud.status(job) == "FAILED"
    assert (await device.part(job))["execution_number"] == 2


async def test_a_device_that_says_nothing_more_is_timed_out_with_grace(cloud):
    device = await cloud.device()
    job = await cloud.execute(timeout_minutes=10)
    await device.told(job, "IN_PROGRESS")
    await cloud.tick(minutes=24)
    waiting = await cloud.status(job)
    await cloud.tick(minutes=2)
    over = await cloud.status(job)
    late = await device.told(job, "SUCCEEDED", stdout="it worked, though")
    part = await device.part(job)

    assert (waiting, over, late) == ("IN_PROGRESS", "TIMED_OUT", "TIMED_OUT")
    assert (part["status"], part["said_by_device"]) == ("TIMED_OUT", "SUCCEEDED")
    assert part["stdout"] == "it worked, though"


async def test_a_device_that_never_begins_is_given_up(cloud):
    device = await cloud.device()
    job = await cloud.execute(queue_timeout_minutes=60)
    await cloud.tick(minutes=61)
    late = await device.told(job, "IN_PROGRESS")

    assert await device.next() is None
    assert (await cloud.status(job), late) == ("TIMED_OUT", "TIMED_OUT")


async def test_a_job_may_end_as_a_whole_whatever_its_devices_are_at(cloud):
    busy, idle = await cloud.device(), await cloud.device()
    job = await cloud.execute(job_timeout_minutes=30, max_attempts=5)
    await busy.told(job, "IN_PROGRESS", number=1)
    await cloud.tick(minutes=31)

    assert await cloud.status(job) == "TIMED_OUT"
    assert (await busy.part(job))["execution_number"] == 1
    assert (await idle.part(job))["status"] == "TIMED_OUT"


async def test_a_cancelled_job_reaches_the_device_that_is_at_it_and_no_other(cloud):
    busy, idle, old = [await cloud.device() for _ in range(3)]
    job = await cloud.execute()
    await busy.told(job, "IN_PROGRESS", number=1)
    await old.told(job, "IN_PROGRESS")
    answer = await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    heard = await busy.next()
    told = await busy.told(job, "CANCELED", number=1, reason="cancelled during step run")
    again = await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")

    assert answer.json()["job"]["status"] == "CANCELED"
    assert (heard["status"], heard["job_id"], heard["job_document"]) == ("CANCELED", job["job_id"], None)
    assert told == "CANCELED"
    assert await busy.next() is None
    assert await idle.next() is None
    assert await old.next() is None, "earlier agents would take it for a job"
    assert await idle.told(job, "IN_PROGRESS") == "CANCELED"
    assert code_of(again) == (409, "job.over")


async def test_a_device_that_never_confirms_a_cancellation_still_gets_its_next_job(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    await device.told(job, "IN_PROGRESS", number=1)
    await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    following = await cloud.execute(job_name="following")
    heard = [(await device.next())["job_id"] for _ in range(4)]

    assert heard == [job["job_id"]] * 3 + [following["job_id"]]


async def test_a_job_can_be_cancelled_on_one_device(cloud):
    one, other = await cloud.device(), await cloud.device()
    job = await cloud.execute()
    answer = await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/devices/{one.uuid}/cancel")
    await other.told(job, "SUCCEEDED")

    assert answer.json()["device_status"]["status"] == "CANCELED"
    assert await cloud.status(job) == "CANCELED"
    assert (await other.part(job))["status"] == "SUCCEEDED"


async def test_cancelling_races_with_the_end_and_both_tell_the_same_story(cloud):
    device = await cloud.device()
    for _ in range(10):
        job = await cloud.execute()
        await asyncio.gather(
            device.report(job, "SUCCEEDED"), cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
        )
        assert await cloud.status(job) == (await device.part(job))["status"]


async def test_a_job_that_waits_chooses_its_devices_when_its_time_comes(cloud):
    await cloud.device()
    at = (cloud.clock().replace(microsecond=0)).isoformat()
    cloud.clock.forward(hours=-1)
    job = await cloud.execute(schedule={"scheduled_at": at})
    late = await cloud.device()
    before = await late.next()
    await cloud.tick(hours=1)

    assert (job["status"], job["summary"]["total"], before) == ("QUEUED", 0, None)
    assert (await late.next())["job_id"] == job["job_id"]
    assert (await cloud.job(job))["job"]["summary"]["total"] == 2


async def test_devices_that_join_later_get_a_continuous_job_too(cloud):
    job = await cloud.execute(
        execution_type="continuous", target_type="group", target_filter={"fleet_id": "hall-1"}
    )
    first, elsewhere = await cloud.device(), await cloud.device(fleet_id="hall-2")
    await cloud.tick(seconds=1)
    await first.told(job, "SUCCEEDED")
    second = await cloud.device()
    await cloud.tick(seconds=1)
    await cloud.tick(seconds=1)
    under_way = await cloud.job(job)
    await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    third = await cloud.device()
    await cloud.tick(seconds=1)

    assert await elsewhere.next() is None
    assert (under_way["job"]["status"], under_way["job"]["summary"]["total"]) == ("IN_PROGRESS", 2)
    assert (await second.part(job))["status"] == "CANCELED"
    assert await third.next() is None


async def test_a_continuous_job_ends_when_it_is_said_to(cloud):
    device = await cloud.device()
    job = await cloud.execute(execution_type="continuous", job_timeout_minutes=10)
    await device.told(job, "SUCCEEDED")
    await cloud.tick(minutes=11)
    await cloud.device()
    await cloud.tick(minutes=1)

    assert await cloud.status(job) == "SUCCEEDED"


async def test_a_job_whose_last_device_was_removed_ends(cloud):
    gone, stays = await cloud.device(), await cloud.device()
    job = await cloud.execute()
    await stays.told(job, "SUCCEEDED")
    await cloud.devices.remove(str(gone.uuid))
    await cloud.tick(seconds=1)

    assert await cloud.status(job) == "SUCCEEDED"


async def test_devices_that_are_removed_meanwhile_disturb_nobody(cloud):
    devices = [await cloud.device() for _ in range(12)]
    answers = await asyncio.gather(
        *(cloud.devices.remove(str(device.uuid)) for device in devices[:8]),
        *(cloud.ask("POST", "/jobs", order()) for _ in range(6)),
    )
    await cloud.tick()

    assert [answer.status_code for answer in answers[8:]] == [201] * 6
    assert await cloud.pool.fetchval("SELECT count(*) FROM device_job_status") == 6 * 4


async def test_a_job_that_starts_while_it_is_cancelled_is_cancelled(cloud):
    await cloud.device()
    for _ in range(8):
        at = (cloud.clock() + timedelta(minutes=1)).isoformat()
        job = await cloud.execute(schedule={"scheduled_at": at})
        cloud.clock.forward(minutes=1)
        cancel = cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
        keepers = [cloud.another_keeper() for _ in range(3)]
        answer, *_ = await asyncio.gather(cancel, *(keeper.start() for keeper in keepers))
        found = await cloud.job(job)
        assert answer.status_code == 200
        assert found["job"]["status"] == "CANCELED"
        assert {one["status"] for one in found["device_statuses"]} <= {"CANCELED"}


async def test_much_output_is_kept_in_part_and_says_so(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    await device.told(job, "SUCCEEDED", stdout="a" * 100_000 + "b" * 100_000, stderr="nul \0 here")
    part = await device.part(job)
    listed = (await cloud.job(job))["device_statuses"][0]

    assert part["stdout"].startswith("aaa")
    assert part["stdout"].endswith("bbb")
    assert "134464 characters left out" in part["stdout"]
    assert part["stderr"] == "nul � here"
    assert (len(listed["stdout"]), listed["stdout_truncated"], listed["stderr_truncated"]) == (
        1000,
        True,
        False,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"status": "DONE"}',
        b'{"status": null}',
        b'{"status": "FAILED", "exit_code": "one"}',
        b'{"status": "FAILED", "exit_code": 99999999999}',
        b'{"status": "FAILED", "status_details": []}',
        b'{"status": "FAILED", "stdout": 5}',
        b"[" * 100_000,
    ],
)
async def test_a_report_that_is_none_is_refused_and_changes_nothing(cloud, body):
    device = await cloud.device()
    job = await cloud.execute()
    path = f"/devices/{device.uuid}/jobs/{job['job_id']}/status"
    answer = await cloud.client.patch(path, content=body, headers=device.headers)

    assert answer.status_code == 400
    assert await cloud.status(job) == "QUEUED"


async def test_odd_texts_of_a_device_are_kept_as_texts(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    path = f"/devices/{device.uuid}/jobs/{job['job_id']}/status"
    body = rb'{"status":"FAILED","reason":"\ud800 half","status_details":{"a\u0000":"\ud83d","n":NaN}}'
    refused = await cloud.client.patch(path, content=body, headers=device.headers)
    taken = await cloud.client.patch(path, content=body.replace(b"NaN", b"1"), headers=device.headers)

    assert (refused.status_code, taken.status_code) == (400, 200)
    assert (await device.part(job))["status_details"]["n"] == 1


async def test_a_device_speaks_for_itself_only(cloud):
    one, other = await cloud.device(), await cloud.device()
    job = await cloud.execute(target_type="device", target_devices=[str(one.uuid)])
    foreign = await one.report(job, "SUCCEEDED", headers=other.headers)
    not_its = await other.report(job, "SUCCEEDED")
    nobody = await JobDevice(cloud).poll()

    assert foreign.status_code == 401
    assert code_of(not_its) == (404, "job.unknown")
    assert nobody.status_code == 401
    assert code_of(await other.poll()) == (404, "job.none")
    assert await cloud.status(job) == "QUEUED"


class _Starter:
    """A plan that has jobs and no schedules."""

    async def check_jobs(self, *, scheduled):
        if scheduled:
            raise PlanRefused(upgradeUrl="https://x.example/up")


async def test_what_the_plan_does_not_have_is_refused_with_the_way_to_it(pool):
    async with served(JobCloud(pool, allowance=_Starter())) as cloud:
        await cloud.device()
        once = await cloud.ask("POST", "/jobs", order())
        again = await cloud.ask(
            "POST", "/jobs", order(schedule={"interval_minutes": 5}, execution_type="recurring")
        )
        by_schedule = await cloud.ask("POST", "/jobs/schedules", order(interval_minutes=5))

    assert once.status_code == 201
    assert (again.status_code, by_schedule.status_code) == (402, 402)
    assert again.json()["upgradeUrl"] == "https://x.example/up"


async def test_every_route_says_what_it_needs_and_viewers_change_nothing(cloud):
    await cloud.device()
    job = await cloud.execute()
    refused = [
        await cloud.ask("POST", "/jobs", order(), role="viewer"),
        await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel", role="viewer"),
        await cloud.ask("DELETE", f"/jobs/{job['job_id']}", role="manager"),
        await cloud.ask(
            "POST", "/jobs/templates", {"name": "x", "job_document": document()}, role="operator"
        ),
    ]
    seen = await cloud.ask("GET", f"/jobs/executions/{job['job_id']}", role="viewer")

    assert check_routes(cloud.app)
    assert [answer.status_code for answer in refused] == [403] * 4
    assert seen.status_code == 200


async def test_jobs_are_deleted_once_they_are_over(cloud):
    await cloud.device()
    job = await cloud.execute()
    early = await cloud.ask("DELETE", f"/jobs/{job['job_id']}")
    await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    answer = await cloud.ask("DELETE", f"/jobs/{job['job_id']}")
    gone = await cloud.ask("GET", f"/jobs/executions/{job['job_id']}")

    assert code_of(early) == (400, "job.under_way")
    assert answer.status_code == 200
    assert code_of(gone) == (404, "job.unknown")


async def test_old_jobs_are_forgotten_and_open_ones_are_not(cloud):
    device = await cloud.device()
    over = await cloud.execute()
    await device.told(over, "SUCCEEDED")
    is_open = await cloud.execute(execution_type="continuous")
    cloud.clock.forward(days=91)
    await cloud.keeper.forget()

    assert (await cloud.ask("GET", f"/jobs/executions/{over['job_id']}")).status_code == 404
    assert (await cloud.ask("GET", f"/jobs/executions/{is_open['job_id']}")).status_code == 200


async def test_lists_are_read_page_by_page_and_filtered(cloud):
    device = await cloud.device()
    jobs = []
    for index in range(5):
        jobs.append(await cloud.execute(job_name=f"job {index}"))
        cloud.clock.forward(seconds=1)
    await device.told(jobs[1], "SUCCEEDED")
    names, cursor = [], ""
    for _ in range(3):
        answer = (await cloud.ask("GET", f"/jobs/executions?limit=2{cursor}")).json()
        names += [one["job_name"] for one in answer["executions"]]
        cursor = f"&cursor={answer['next_cursor']}"
    over = (await cloud.ask("GET", "/jobs/executions?status=SUCCEEDED")).json()["executions"]
    skipped = (await cloud.ask("GET", "/jobs/executions?limit=2&offset=3")).json()["executions"]
    of_device = (await cloud.ask("GET", f"/devices/{device.uuid}/jobs?status=QUEUED&limit=3")).json()
    bad = await cloud.ask("GET", "/jobs/executions?cursor=nonsense")

    assert names == [f"job {index}" for index in (4, 3, 2, 1, 0)]
    assert answer["next_cursor"] is None
    assert [(one["job_name"], one["summary"]["succeeded"]) for one in over] == [("job 1", 1)]
    assert [one["job_name"] for one in skipped] == ["job 1", "job 0"]
    assert [one["job_name"] for one in of_device["jobs"]] == ["job 4", "job 3", "job 2"]
    assert code_of(bad) == (400, "page.cursor_invalid")


async def test_parts_are_read_page_by_page(cloud):
    devices = sorted([await cloud.device() for _ in range(5)], key=lambda one: one.uuid)
    job = await cloud.execute()
    await devices[2].told(job, "FAILED")
    path = f"/jobs/executions/{job['job_id']}/devices"
    first = (await cloud.ask("GET", f"{path}?limit=3")).json()
    second = (await cloud.ask("GET", f"{path}?limit=3&after={first['next_after']}")).json()
    failed = (await cloud.ask("GET", f"{path}?status=FAILED")).json()["device_statuses"]

    found = [one["device_uuid"] for one in first["device_statuses"] + second["device_statuses"]]
    assert found == [str(one.uuid) for one in devices]
    assert second["next_after"] is None
    assert [one["device_uuid"] for one in failed] == [str(devices[2].uuid)]
