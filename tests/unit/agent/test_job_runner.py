"""The jobs of a device: taken once, run one after another, told until the cloud knows."""

import time

import pytest
from job_rig import (
    MemoryCloud,
    MemoryKeeper,
    document,
    is_there,
    order,
    outcome,
    pids_in,
    shell,
    until,
    working,
)

from iotistic.agent.link.errors import CloudRefused, CloudUnavailable
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.contracts.jobs import JobStatus

TRUE = shell("fine", "true")


def announced(job_id, *steps, number=1, status="QUEUED", **changes):
    execution = {
        "jobId": job_id,
        "executionNumber": number,
        "status": status,
        "jobDocument": document(*steps, **changes),
    }
    return {"execution": execution, "timestamp": 5}


def counting(path):
    return shell("count", f"echo x >> {path}")


def count(path):
    return len(path.read_text().split()) if path.exists() else 0


async def test_a_job_is_told_to_begin_and_to_end():
    cloud = MemoryCloud(order("one", TRUE))
    async with working(cloud) as runner:
        await until(lambda: cloud.final("one"))
        seen = runner.recent()[0]

    assert cloud.statuses("one") == ["IN_PROGRESS", "SUCCEEDED"]
    assert (seen.job_id, seen.name, seen.status, seen.executed_steps) == ("one", "job one", "SUCCEEDED", 1)
    assert seen.started_at <= seen.finished_at


async def test_jobs_run_one_after_another_without_waiting_for_the_next_poll(tmp_path):
    steps = shell("hold", f"mkdir {tmp_path}/lock && sleep 0.05 && rmdir {tmp_path}/lock")
    cloud = MemoryCloud(*(order(f"job-{number}", steps) for number in range(5)))
    began = time.monotonic()
    async with working(cloud, cloud_jobs_polling_interval=3_600_000):
        await until(lambda: cloud.final("job-4"))

    assert [cloud.statuses(f"job-{number}")[-1] for number in range(5)] == ["SUCCEEDED"] * 5
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("ways", ["poll then announcement", "announcement then poll", "announcements"])
async def test_a_job_that_comes_twice_runs_once(tmp_path, ways):
    cloud = MemoryCloud(order("one", counting(tmp_path / "runs"), shell("wait", "sleep 0.2")))
    cloud.forgets = True
    message = announced("one", counting(tmp_path / "runs"), shell("wait", "sleep 0.2"))
    async with working(cloud) as runner:
        for _ in range(5 if ways != "poll then announcement" else 0):
            runner.notify(message)
        await until(lambda: cloud.polls >= 1)
        runner.notify(message)
        await until(lambda: cloud.final("one"))
        runner.notify(message)
        runner.ask_now()
        await until(lambda: len(cloud.final("one")) >= 2)

    assert count(tmp_path / "runs") == 1


async def test_another_execution_of_a_job_runs_and_an_older_one_does_not(tmp_path):
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        for number in (3, 4, 4, 2):
            runner.notify(announced("one", counting(tmp_path / "runs"), number=number))
        await until(lambda: count(tmp_path / "runs") == 2)
        runner.notify(announced("last", TRUE))
        await until(lambda: cloud.final("last"))

    assert count(tmp_path / "runs") == 2


async def test_a_cloud_that_asks_again_is_told_again_how_it_ended():
    cloud = MemoryCloud(order("one", shell("break", "exit 3")))
    cloud.forgets = True
    async with working(cloud):
        await until(lambda: len(cloud.final("one")) >= 2)
        polls = cloud.polls

    first, again = cloud.final("one")[:2]
    assert [again[name] for name in ("status", "reason", "exit_code", "failed_step")] == [
        first[name] for name in ("status", "reason", "exit_code", "failed_step")
    ]
    assert polls < 10


async def test_a_document_with_faults_is_rejected_with_each_of_them():
    said = await outcome({"name": "x"}, whatever=1)
    assert said["status"] == "REJECTED"
    assert said["reason"] == (
        "steps[0].type: is missing; steps[0].input: is missing; whatever: is not a key that is known here"
    )


async def test_a_document_that_is_too_large_is_rejected():
    said = await outcome(shell("large", "x" * 300_000))
    assert said["status"] == "REJECTED"
    assert "at most 262144 are read" in said["reason"]


async def test_a_document_that_is_nested_too_deeply_is_rejected():
    nested = []
    for _ in range(900):
        nested = [nested]
    cloud = MemoryCloud({**order("one", TRUE), "job_document": {"steps": nested}})
    async with working(cloud) as runner:
        runner.notify({"job_id": nested, "job_document": {}})
        await until(lambda: cloud.final("one"))

    assert cloud.final("one")[0]["reason"] == "its document is nested more than 32 times"


async def test_a_fault_of_our_own_fails_the_job_and_not_the_agent():
    cloud = MemoryCloud(order("one", TRUE), order("two", TRUE))
    faults = [ZeroDivisionError("oops")]

    class Facts(dict):
        def __bool__(self):
            if faults:
                raise faults.pop()
            return True

    async with working(cloud, facts=Facts(operatingSystem="debian")):
        await until(lambda: cloud.final("two"))

    assert cloud.final("one")[0]["reason"] == "the agent met a fault of its own: ZeroDivisionError('oops')"
    assert cloud.final("two")[0]["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"key": "operatingSystem", "value": ["alpine", "arch"]}, "condition operatingSystem: is 'debian', not one of alpine, arch"),
        ({"key": "operatingSystem", "value": ["debian"], "type": "stringNotEqual"}, "condition operatingSystem: is 'debian', which is excluded by debian"),
        ({"key": "colour", "value": ["red"]}, "condition colour: this device does not know it (known are operatingSystem)"),
    ],
)  # fmt: skip
async def test_a_device_that_is_not_meant_rejects_the_job(tmp_path, condition, reason):
    met = {"key": "operatingSystem", "value": ["ubuntu", "debian"]}
    said = await outcome(
        counting(tmp_path / "runs"),
        conditions=[met, condition],
        finalStep=shell("clean", f"touch {tmp_path}/clean"),
    )
    assert (said["status"], said["reason"]) == ("REJECTED", reason)
    assert list(tmp_path.iterdir()) == []


async def test_a_job_that_takes_too_long_is_ended(tmp_path):
    steps = [TRUE, shell("hang", f"echo $$ > {tmp_path}/pids; sleep 300")]
    cloud = MemoryCloud(
        {**order("one", *steps, finalStep=shell("clean", f"touch {tmp_path}/clean")), "timeout_seconds": 0.3}
    )
    async with working(cloud):
        await until(lambda: cloud.final("one"))
    said = cloud.final("one")[0]

    assert (said["status"], said["failed_step"]) == ("TIMED_OUT", "hang")
    assert said["reason"] == "the job took longer than 0.3 s: ended during step hang"
    assert not any(map(is_there, pids_in(tmp_path / "pids")))
    assert (tmp_path / "clean").exists()


async def test_a_job_with_next_to_no_time_times_out_all_the_same():
    cloud = MemoryCloud({**order("one", shell("hang", "sleep 300")), "timeout_seconds": 1e-9})
    async with working(cloud):
        await until(lambda: cloud.final("one"))
    assert cloud.final("one")[0]["status"] == "TIMED_OUT"


@pytest.mark.parametrize("way", ["announcement", "message", "answer", "poll"])
async def test_a_job_under_way_is_cancelled(tmp_path, way):
    steps = [shell("hang", f"echo $$ > {tmp_path}/pids; sleep 300"), counting(tmp_path / "after")]
    job = order("one", *steps, finalStep=shell("clean", f"touch {tmp_path}/clean"))
    cloud = MemoryCloud(job)
    cloud.answers = [JobStatus.CANCELED] if way == "answer" else []
    ways = {
        "announcement": lambda runner: runner.notify({"execution": {"jobId": "one", "status": "CANCELED"}}),
        "message": lambda runner: runner.hear(
            "iot/device/u/jobs/one/update/accepted", b'{"executionState": {"status": "CANCELED"}}'
        ),
        "poll": lambda _: job.update(status="CANCELED"),
        "answer": lambda _: None,
    }
    async with working(cloud) as runner:
        await until(lambda: pids_in(tmp_path / "pids") or cloud.final("one"))
        ways[way](runner)
        await until(lambda: cloud.final("one"))
    said = cloud.final("one")[0]

    assert (said["status"], said["reason"]) == ("CANCELED", "cancelled during step hang")
    assert not any(map(is_there, pids_in(tmp_path / "pids")))
    assert (tmp_path / "clean").exists()
    assert not (tmp_path / "after").exists()


async def test_a_job_that_waits_is_cancelled_and_never_begun(tmp_path):
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        runner.notify(announced("first", shell("hold", "sleep 0.3")))
        runner.notify(announced("second", counting(tmp_path / "runs")))
        runner.cancel("second")
        await until(lambda: cloud.final("first") and cloud.final("second"))

    assert cloud.statuses("second") == ["CANCELED"]
    assert count(tmp_path / "runs") == 0


async def test_progress_is_told_when_it_is_asked_for():
    cloud = MemoryCloud(order("one", *(shell(f"s{n}", "sleep 0.1") for n in range(3)), reportProgress=True))
    async with working(cloud):
        await until(lambda: cloud.final("one"))
    told = [fields["status_details"]["progress"] for _, fields in cloud.reports[:-1]]

    assert told == ["step s0", "1 of 3 steps done", "2 of 3 steps done", "3 of 3 steps done"]


async def test_reports_wait_for_the_cloud_and_keep_their_order():
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        await until(lambda: cloud.polls)
        cloud.is_away = True
        for name in ("one", "two"):
            runner.notify(announced(name, TRUE, shell("more", "true"), reportProgress=True))
        await until(lambda: [seen.status for seen in runner.recent()] == ["SUCCEEDED"] * 2)
        cloud.is_away = False
        runner.ask_now()
        await until(lambda: cloud.final("two"))

    assert [(job, fields["status"]) for job, fields in cloud.reports] == [
        ("one", "IN_PROGRESS"), ("one", "SUCCEEDED"), ("two", "IN_PROGRESS"), ("two", "SUCCEEDED"),
    ]  # fmt: skip


async def test_a_report_that_the_cloud_refuses_stands_in_nobodys_way():
    cloud = MemoryCloud(order("one", TRUE), order("two", TRUE))
    cloud.answers = [CloudRefused("no such job", status=404)]
    async with working(cloud):
        await until(lambda: cloud.final("two"))
    assert cloud.statuses("one") == ["SUCCEEDED"]


async def test_a_report_that_is_too_large_goes_without_its_output():
    cloud = MemoryCloud(order("one", shell("talk", "echo hello"), includeStdOut=True))
    cloud.answers = [None, CloudRefused("too large", status=413)]
    async with working(cloud):
        await until(lambda: cloud.final("one"))
    said = cloud.final("one")[0]

    assert "stdout" not in said
    assert said["status_details"]["output"] == "too large to be told"


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"\xff", b"[" * 100_000, b"5", b"null", b'{"execution": 5}', b'{"execution": {"jobId": "../x"}}']
)  # fmt: skip
async def test_garbage_that_is_announced_changes_nothing(payload):
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        runner.hear("iot/device/u/jobs/notify-next", payload)
        runner.hear("iot/device/u/jobs/x/update/accepted", payload)
        runner.notify(announced("one", TRUE))
        await until(lambda: cloud.final("one"))
        assert [seen.job_id for seen in runner.recent()] == ["one"]


async def test_garbage_that_the_queue_answers_changes_nothing():
    cloud = MemoryCloud({"job_id": "a/b"}, order("one", TRUE))
    async with working(cloud) as runner:
        await until(lambda: cloud.polls)
        runner.notify(announced("two", TRUE))
        await until(lambda: cloud.final("two"))


async def test_an_announcement_without_a_document_has_the_queue_asked():
    cloud = MemoryCloud()
    async with working(cloud, cloud_jobs_polling_interval=3_600_000) as runner:
        await until(lambda: cloud.polls)
        cloud.orders.append(order("one", TRUE))
        runner.notify({"execution": {"jobId": "one", "status": "QUEUED"}})
        await until(lambda: cloud.final("one"))


async def test_a_job_in_progress_that_this_device_does_not_remember_is_not_run(tmp_path):
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        runner.notify(announced("one", counting(tmp_path / "runs"), status="IN_PROGRESS"))
        await until(lambda: cloud.final("one"))

    assert cloud.final("one")[0]["reason"] == "it was in progress, and this device does not remember how far"
    assert count(tmp_path / "runs") == 0


async def test_more_jobs_than_can_wait_are_left_to_the_cloud():
    cloud = MemoryCloud()
    async with working(cloud) as runner:
        runner.notify(announced("hold", shell("hold", "sleep 300")))
        for number in range(80):
            runner.notify(announced(f"job-{number}", TRUE))
        await until(lambda: len(runner.recent(most=200)) >= 50)
        runner.notify(announced("late", TRUE))
        runner.cancel("hold")
        await until(lambda: cloud.final("job-48"))

    assert cloud.statuses("job-49") == []


async def test_that_a_step_begins_is_kept_before_it_does(tmp_path):
    class WatchingKeeper(MemoryKeeper):
        async def put(self, name, value):
            await super().put(name, {**value, "ran": count(tmp_path / "runs")})

    cloud, keeper = MemoryCloud(order("one", counting(tmp_path / "runs"))), WatchingKeeper()
    async with working(cloud, keeper):
        await until(lambda: cloud.final("one"))
    begun = [row for row in keeper.kept if row["step"] == "count"]

    assert (begun[0]["mark"], begun[0]["status"], begun[0]["is_running"], begun[0]["ran"]) == (
        None,
        "IN_PROGRESS",
        True,
        0,
    )
    assert begun[1]["mark"]["pid"] > 0


async def test_a_disk_that_takes_no_writes_begins_nothing(tmp_path):
    cloud, keeper = MemoryCloud(order("one", counting(tmp_path / "runs"))), MemoryKeeper()
    keeper.fault = StoreUnavailable()
    async with working(cloud, keeper) as runner:
        await until(lambda: cloud.polls >= 2)
        before = (runner.recent(), count(tmp_path / "runs"))
        keeper.fault = None
        await until(lambda: cloud.final("one"))

    assert before == ([], 0)
    assert count(tmp_path / "runs") == 1


async def test_a_disk_that_fails_between_steps_ends_the_job_before_the_next(tmp_path):
    cloud, keeper = MemoryCloud(), MemoryKeeper()
    async with working(cloud, keeper) as runner:
        runner.notify(
            announced(
                "one", shell("first", f"touch {tmp_path}/first; sleep 0.3"), counting(tmp_path / "runs")
            )
        )
        await until((tmp_path / "first").exists)
        keeper.fault = StoreUnavailable()
        await until(lambda: cloud.final("one"))

    assert "step count was not run: The agent's disk does not take writes" in cloud.final("one")[0]["reason"]
    assert count(tmp_path / "runs") == 0


async def test_an_agent_that_stops_ends_the_step_and_tells_after_its_next_start(tmp_path):
    cloud, keeper = (
        MemoryCloud(order("one", shell("hang", f"echo $$ > {tmp_path}/pids; sleep 300"))),
        MemoryKeeper(),
    )
    async with working(cloud, keeper):
        await until(lambda: pids_in(tmp_path / "pids"))
    left = [pid for pid in pids_in(tmp_path / "pids") if is_there(pid)]
    async with working(cloud, keeper):
        await until(lambda: cloud.final("one"))

    assert left == []
    assert cloud.final("one")[0]["reason"] == "agent restarted during step hang"
    assert len(pids_in(tmp_path / "pids")) == 1


async def test_what_is_over_and_told_is_forgotten_at_last():
    cloud, keeper = MemoryCloud(), MemoryKeeper()
    async with working(cloud, keeper) as runner:
        for number in range(210):
            runner.notify(announced(f"job-{number}", TRUE, conditions=[{"key": "no", "value": ["x"]}]))
            await until(lambda name=f"job-{number}": cloud.final(name))
        await until(lambda: len(keeper.rows) <= 200)
        assert runner.recent()[0].job_id == "job-209"


async def test_rows_of_another_release_or_broken_ones_are_no_obstacle():
    keeper = MemoryKeeper()
    keeper.rows = {
        "job-1": {"job_id": "x"},
        "job-2": 5,
        "job-3": {"nonsense": True},
        "other": {"job_id": "y"},
    }
    cloud = MemoryCloud(order("one", TRUE))
    async with working(cloud, keeper):
        await until(lambda: cloud.final("one"))


async def test_the_cloud_may_be_away_for_the_whole_of_a_job():
    cloud, keeper = MemoryCloud(), MemoryKeeper()
    async with working(cloud, keeper) as runner:
        await until(lambda: cloud.polls)
        cloud.is_away = True
        runner.notify(announced("one", TRUE))
        await until(lambda: runner.recent() and runner.recent()[0].status == "SUCCEEDED")
    cloud.is_away = False
    async with working(cloud, keeper):
        await until(lambda: cloud.final("one"))
    assert cloud.statuses("one") == ["IN_PROGRESS", "SUCCEEDED"]


async def test_unavailable_says_when_to_come_again():
    cloud = MemoryCloud()
    cloud.answers = [CloudUnavailable(retry_after_s=3600)]
    async with working(cloud) as runner:
        runner.notify(announced("one", TRUE))
        await until(lambda: not cloud.answers)
        runner.ask_now()
        await until(lambda: cloud.final("one"))


async def test_a_recovery_that_meets_a_fault_of_our_own_ends_its_job_and_not_the_agent(monkeypatch):
    cloud, keeper = MemoryCloud(order("one", shell("hang", "sleep 300"))), MemoryKeeper()
    async with working(cloud, keeper) as runner:
        await until(lambda: runner.recent() and runner.recent()[0].step == "hang")

    def fail(*_args, **_named):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("iotistic.agent.jobs.running.end_leftovers", fail)
    async with working(cloud, keeper) as runner:
        await until(lambda: cloud.final("one"))
        runner.notify(announced("two", TRUE))
        await until(lambda: cloud.final("two"))

    assert "fault of its own" in cloud.final("one")[0]["reason"]
