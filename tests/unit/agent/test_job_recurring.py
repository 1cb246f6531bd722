"""Jobs that run more than once, at moments of a clock that the test moves."""

import pytest
from job_rig import MemoryCloud, MemoryKeeper, order, shell, until, working

from iotistic.agent.jobs.running import next_run
from iotistic.agent.link.errors import CloudUnavailable
from iotistic.contracts.cron import parse_cron
from iotistic.contracts.jobs import ExecutionKind, JobDocument, Schedule

HOUR = {"intervalMinutes": 60}


def recurring(**changes):
    schedule = Schedule(interval_s=changes.pop("interval_s", None), cron=changes.pop("cron", None))
    return JobDocument(steps=(), **{"execution": ExecutionKind.RECURRING, "schedule": schedule, **changes})


@pytest.mark.parametrize(
    ("document", "runs", "began", "now", "expected"),
    [
        (recurring(execution=ExecutionKind.ONE_TIME), 1, 100, 110, None),
        (recurring(interval_s=60), 1, 100, 110, 160),
        (recurring(interval_s=60), 1, 100, 160, 220),
        (recurring(interval_s=60), 1, 100, 1000, 1060),
        (recurring(interval_s=60), 1, 1000, 100, 1060),
        (recurring(interval_s=60, max_executions=2), 1, 100, 110, 160),
        (recurring(interval_s=60, max_executions=2), 2, 100, 110, None),
        (recurring(cron=parse_cron("*/5 * * * *")), 9, 100, 110, 300),
        (recurring(execution=ExecutionKind.CONTINUOUS), 1, 100, 110, 170),
        (recurring(execution=ExecutionKind.CONTINUOUS, interval_s=600), 1, 100, 110, 710),
    ],
)  # fmt: skip
def test_when_it_runs_again(document, runs, began, now, expected):
    assert next_run(document, runs, began, now) == expected


class Clock:
    def __init__(self):
        self.now, self.hours = 1_000_000.0, 0

    def __call__(self):
        return self.now

    def pass_hour(self, runner):
        """Let an hour pass; another job has the runner look at its clock."""
        self.now += 3600
        self.hours += 1
        runner.notify({"job_id": f"wake-{self.hours}", "job_document": {}})


def step(path, script="true"):
    return shell("count", f"echo x >> {path}/runs; {script}")


def count(path):
    return len((path / "runs").read_text().split()) if (path / "runs").exists() else 0


async def test_it_runs_as_often_as_it_is_to_and_tells_of_each(tmp_path):
    cloud, clock = MemoryCloud(), Clock()
    job = order("one", step(tmp_path), executionType="recurring", schedule=HOUR, maxExecutions=3)
    async with working(cloud, clock=clock) as runner:
        runner.notify(job)
        for run in (1, 2):
            await until(lambda run=run: len(cloud.statuses("one")) == 2 * run)
            clock.pass_hour(runner)
        await until(lambda: cloud.final("one"))

    assert count(tmp_path) == 3
    assert cloud.statuses("one") == ["IN_PROGRESS"] * 5 + ["SUCCEEDED"]
    told = [fields for job, fields in cloud.reports if job == "one"]
    assert told[1]["status_details"]["last_run"] == "SUCCEEDED"
    assert cloud.final("one")[0]["status_details"]["runs"] == 3


async def test_a_run_that_fails_is_not_forgotten_and_does_not_end_it(tmp_path):
    cloud, clock = MemoryCloud(), Clock()
    script = f"test $(wc -l < {tmp_path}/runs) != 1"
    job = order("one", step(tmp_path, script), executionType="recurring", schedule=HOUR, maxExecutions=2)
    async with working(cloud, clock=clock) as runner:
        runner.notify(job)
        await until(lambda: len(cloud.reports) >= 2)
        clock.pass_hour(runner)
        await until(lambda: cloud.final("one"))

    assert cloud.reports[1][1]["status"] == "IN_PROGRESS"
    assert cloud.reports[1][1]["reason"] == "step count ended with status 1"
    assert cloud.final("one")[0]["status"] == "FAILED"
    assert cloud.final("one")[0]["reason"] == "1 of 2 runs failed"


async def test_it_goes_on_after_a_restart_and_does_not_make_up_for_what_it_missed(tmp_path):
    cloud, clock, keeper = MemoryCloud(), Clock(), MemoryKeeper()
    job = order("one", step(tmp_path), executionType="recurring", schedule=HOUR)
    async with working(cloud, keeper, clock=clock) as runner:
        runner.notify(job)
        await until(lambda: len(cloud.reports) >= 2)
    async with working(cloud, keeper, clock=clock) as runner:
        await until(lambda: cloud.polls >= 2)
        not_yet = count(tmp_path)
        due = runner.recent()[0].next_run_at
    clock.now += 10 * 3600
    async with working(cloud, keeper, clock=clock) as runner:
        await until(lambda: count(tmp_path) == 2 and runner.recent()[0].runs == 2)

    assert (not_yet, due) == (1, 1_000_000 + 3600)


@pytest.mark.parametrize("when", ["between its runs", "while it runs"])
async def test_it_is_cancelled_for_good(tmp_path, when):
    cloud, clock, keeper = MemoryCloud(), Clock(), MemoryKeeper()
    script = "true" if when == "between its runs" else "sleep 300"
    job = order("one", step(tmp_path, script), executionType="continuous")
    async with working(cloud, keeper, clock=clock) as runner:
        runner.notify(job)
        await until(lambda: count(tmp_path) and len(cloud.reports) >= (2 if script == "true" else 1))
        runner.cancel("one")
        await until(lambda: cloud.final("one"))
        assert runner.recent()[0].next_run_at is None

    assert cloud.final("one")[0]["status"] == "CANCELED"


async def test_what_is_cancelled_during_its_final_step_does_not_run_again(tmp_path):
    cloud, clock = MemoryCloud(), Clock()
    clean = shell("clean", f"touch {tmp_path}/clean; sleep 0.3")
    job = order("one", step(tmp_path), finalStep=clean, executionType="recurring", schedule=HOUR)
    async with working(cloud, clock=clock) as runner:
        runner.notify(job)
        await until((tmp_path / "clean").exists)
        runner.cancel("one")
        await until(lambda: cloud.final("one"))

    assert cloud.final("one")[0]["status"] == "CANCELED"


async def test_a_job_waits_for_its_moment(tmp_path):
    cloud, clock, keeper = MemoryCloud(), Clock(), MemoryKeeper()
    job = order("one", step(tmp_path), schedule={"scheduledAt": "1970-01-12T13:46:41Z"})
    async with working(cloud, keeper, clock=clock) as runner:
        runner.notify(job)
        await until(lambda: runner.recent() and runner.recent()[0].next_run_at == clock.now + 1)
        before = (count(tmp_path), runner.recent()[0].status)
        clock.now += 2
        runner.notify(order("wake", shell("fine", "true")))
        await until(lambda: cloud.final("one"))

    assert before == (0, "QUEUED")
    assert cloud.statuses("one") == ["IN_PROGRESS", "SUCCEEDED"]


async def test_runs_that_nobody_heard_of_do_not_pile_up(tmp_path):
    cloud, clock, keeper = MemoryCloud(), Clock(), MemoryKeeper()
    cloud.answers = [CloudUnavailable()]
    job = order("one", step(tmp_path), executionType="recurring", schedule=HOUR)
    async with working(cloud, keeper, clock=clock) as runner:
        runner.notify(job)
        await until(lambda: not cloud.answers)
        cloud.is_away = True
        for run in range(1, 5):
            await until(lambda run=run: runner.recent()[-1].runs == run)
            clock.pass_hour(runner)
        rows = [row for row in keeper.rows.values() if row["job_id"] == "one"]

    assert len(rows) == 1
    assert len(rows[0]["reports"]) <= 2
