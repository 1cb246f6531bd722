"""A device's jobs without a network: a cloud in memory, and documents that are quickly written."""

import asyncio
import contextlib
import os
import time

from iotistic.agent.jobs.model import Around
from iotistic.agent.jobs.runner import JobRunner
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.errors import CloudUnavailable

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
WITHIN_S = 20.0


def command(name, *words, **changes):
    """A step that runs words as they are."""
    joined = ",".join(word.replace("\\", "\\\\").replace(",", "\\,") for word in words)
    return {"name": name, "type": "runCommand", "input": {"command": joined}, **changes}


def shell(name, script, **changes):
    return command(name, "/bin/sh", "-c", script, **changes)


def document(*steps, **changes):
    return {"version": "1.0", "steps": list(steps), **changes}


def order(job_id, *steps, number=None, **changes):
    told = {} if number is None else {"execution_number": number}
    return {
        "job_id": job_id,
        "job_name": f"job {job_id}",
        "job_document": document(*steps, **changes),
        **told,
    }


class MemoryKeeper:
    """Rows that outlive a runner."""

    def __init__(self):
        self.rows, self.fault, self.kept = {}, None, []

    async def load(self):
        return dict(self.rows)

    async def put(self, name, value):
        if self.fault is not None:
            raise self.fault
        self.kept.append(value)
        if value is None:
            self.rows.pop(name, None)
        else:
            self.rows[name] = value


class MemoryCloud:
    """Hands out orders one after another, each until its end was told, as clouds do."""

    def __init__(self, *orders):
        self.orders, self.reports, self.answers = list(orders), [], []
        self.polls, self.is_away, self.forgets = 0, False, False

    async def next_job(self):
        self.polls += 1
        if self.is_away:
            raise CloudUnavailable
        return self.orders[0] if self.orders else None

    async def report(self, job_id, fields):
        if self.is_away:
            raise CloudUnavailable
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        self.reports.append((job_id, fields))
        if fields["status"] not in ("QUEUED", "IN_PROGRESS") and not self.forgets:
            self.orders = [one for one in self.orders if one["job_id"] != job_id]
        return answer

    def final(self, job_id):
        told = [fields for job, fields in self.reports if job == job_id]
        return [fields for fields in told if fields["status"] not in ("QUEUED", "IN_PROGRESS")]

    def statuses(self, job_id):
        return [fields["status"] for job, fields in self.reports if job == job_id]


@contextlib.asynccontextmanager
async def working(
    cloud, keeper=None, *, reports=None, clock=time.time, announces=lambda: False, facts=None, **settings
):
    """A runner at work."""
    given = {"cloud_jobs_polling_interval": 1000, **settings}
    around = Around(clock, lambda: 0.5, lambda: facts or {"operatingSystem": "debian"}, announces)
    runner = JobRunner(
        UUID,
        cloud,
        keeper or MemoryKeeper(),
        JobSettings(**given),
        around,
        reports=reports,
        grace_s=0.5,
    )
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(met):
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)


async def outcome(*steps, limits=None, **changes):
    """Run one job to its end and return the report."""
    cloud = MemoryCloud(order("one", *steps, **changes))
    async with working(cloud, **(limits or {})):
        await until(lambda: cloud.final("one"))
    return cloud.final("one")[0]


def is_there(pid):
    """Say whether a process lives; one that waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def pids_in(path):
    return [int(word) for word in path.read_text().split()] if os.path.exists(path) else []  # noqa: PTH110
