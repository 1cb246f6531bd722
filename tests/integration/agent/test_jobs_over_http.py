"""Jobs over real HTTP, with a real store: asked for, run, told."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.integration.agent.cloud_double import KEY, UUID, CloudDouble
from tests.integration.agent.double_jobs import JobQueue

from iotistic.agent.jobs.facts import system_facts
from iotistic.agent.jobs.model import Around
from iotistic.agent.jobs.runner import JobRunner
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.cloud import Cloud, CloudAddress
from iotistic.agent.link.errors import CloudDenied, CloudUnavailable, CloudUnintelligible
from iotistic.agent.link.job_calls import JobCalls
from iotistic.agent.store.store import Store
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import IotisticError

WITHIN_S = 20.0


def order(job_id: str, *words: str, **changes: Any) -> dict[str, Any]:
    step = {"name": "run", "type": "runCommand", "input": {"command": ",".join(words)}}
    document = {"version": "1.0", "steps": [step], "includeStdOut": True, **changes}
    return {
        "job_id": job_id,
        "job_name": job_id,
        "job_document": document,
        "timeout_seconds": 60,
        "created_at": "2026-05-17T10:00:00Z",
    }


@contextlib.asynccontextmanager
async def talking(queue: JobQueue, key: str = KEY) -> AsyncIterator[JobCalls]:
    async with CloudDouble(extra=(queue.add,)).running() as double:
        cloud = Cloud(CloudAddress(double.url), UUID, lambda: key)
        try:
            yield JobCalls(UUID, cloud.ask)
        finally:
            await cloud.close()


@contextlib.asynccontextmanager
async def working(queue: JobQueue, folder: Path) -> AsyncIterator[JobRunner]:
    store = await Store.open(folder / "agent.sqlite")
    async with talking(queue) as calls:
        around = Around(time.time, lambda: 0.0, system_facts)
        settings = JobSettings(cloud_jobs_polling_interval=1000)
        runner = JobRunner(UUID, calls, store.metadata, settings, around)
        task = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.close()


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)


async def test_jobs_are_asked_for_run_and_told(tmp_path: Path) -> None:
    queue = JobQueue(order("one", "echo", "hello"), order("two", "false"))
    async with working(queue, tmp_path):
        await until(lambda: queue.status("two").is_final)

    assert [(job, fields["status"]) for job, fields in queue.reports] == [
        ("one", "IN_PROGRESS"),
        ("one", "SUCCEEDED"),
        ("two", "IN_PROGRESS"),
        ("two", "FAILED"),
    ]
    assert queue.end_of("one")["stdout"] == "hello\n"
    assert queue.end_of("two")["exit_code"] == 1


async def test_much_output_goes_packed_and_arrives_whole(tmp_path: Path) -> None:
    queue = JobQueue(order("one", sys.executable, "-c", r"print('ä€' * 9000)"))
    async with working(queue, tmp_path):
        await until(lambda: queue.status("one").is_final)

    assert queue.end_of("one")["stdout"] == "ä€" * 9000 + "\n"
    assert queue.encodings[-1] == "gzip"


async def test_what_the_cloud_cancelled_is_ended_when_progress_is_told(tmp_path: Path) -> None:
    queue = JobQueue(order("one", "sleep", "300"))
    async with working(queue, tmp_path) as runner:
        await until(lambda: queue.reports)
        queue.orders[0]["status"] = "CANCELED"
        runner.ask_now()
        await until(lambda: queue.status("one").is_final)

    assert queue.end_of("one")["reason"] == "cancelled during step run"


async def test_the_answer_to_a_report_may_cancel(tmp_path: Path) -> None:
    queue = JobQueue(order("one", "sleep", "300"))
    queue.instead = [web.json_response(queue.orders[0]), web.json_response({"status": "CANCELED"})]
    async with working(queue, tmp_path) as runner:
        await until(lambda: runner.recent() and runner.recent()[0].status is JobStatus.CANCELED)


async def test_a_cloud_that_stumbles_gets_every_report_in_the_end(tmp_path: Path) -> None:
    queue = JobQueue(order("one", "echo", "hello"))
    async with working(queue, tmp_path) as runner:
        await until(lambda: queue.reports)
        await until(lambda: queue.status("one").is_final)
        queue.instead = [web.Response(status=503), web.Response(status=429), web.Response(text="<html>")]
        queue.orders.append(order("two", "echo", "hello"))

        def hurry() -> bool:
            runner.ask_now()
            return queue.status("two").is_final

        await until(hurry)
    assert [fields["status"] for job, fields in queue.reports if job == "two"] == ["IN_PROGRESS", "SUCCEEDED"]


async def test_a_restart_in_between_runs_nothing_twice(tmp_path: Path) -> None:
    queue = JobQueue(order("one", "sh", "-c", f"echo x >> {tmp_path}/ran; sleep 300"))
    async with working(queue, tmp_path):
        await until((tmp_path / "ran").exists)
        await until(lambda: queue.reports)
    async with working(queue, tmp_path):
        await until(lambda: queue.status("one").is_final)

    assert queue.end_of("one")["reason"] == "agent restarted during step run"
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_no_job_is_no_error() -> None:
    queue = JobQueue()
    async with talking(queue) as calls:
        assert await calls.next_job() is None
        queue.instead = [web.Response(status=204)]
        assert await calls.next_job() is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.Response(status=500, text="oops"), CloudUnavailable),
        (web.Response(text="<html>a hotel's login page</html>"), CloudUnintelligible),
        (web.json_response([]), CloudUnintelligible),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_whatever_else_it_answers_is_one_of_our_errors(
    answer: web.Response, expected: type[IotisticError]
) -> None:
    queue = JobQueue()
    queue.instead = [answer]
    async with talking(queue) as calls:
        with pytest.raises(expected):
            await calls.next_job()


async def test_a_wrong_key_is_denied() -> None:
    async with talking(JobQueue(), "wrong") as calls:
        with pytest.raises(CloudDenied, match="the key is wrong"):
            await calls.report("one", {"status": "SUCCEEDED"})


async def test_a_report_that_was_taken_is_told_whatever_the_answer_says() -> None:
    queue = JobQueue()
    queue.instead = [web.Response(text="thanks"), web.json_response({"status": "ok"})]
    async with talking(queue) as calls:
        assert await calls.report("one", {"status": "IN_PROGRESS"}) is None
        assert await calls.report("one", {"status": "IN_PROGRESS"}) is None
