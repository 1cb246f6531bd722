"""Jobs over a real Mosquitto: announced, run, told, accepted; over HTTP where that does not work."""

import asyncio
import contextlib
import json
import random
import time

import pytest
from tests.integration.agent.agent_broker import UUID, agent_place, until
from tests.integration.agent.cloud_double import KEY, CloudDouble
from tests.integration.agent.double_jobs import JobQueue

from iotistic.agent.jobs.facts import system_facts
from iotistic.agent.jobs.model import Around
from iotistic.agent.jobs.roads import MqttReports, Roads
from iotistic.agent.jobs.runner import JobRunner
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.cloud import Cloud, CloudAddress
from iotistic.agent.link.job_calls import JobCalls
from iotistic.agent.store.store import Store

JOBS = f"iot/device/{UUID}/jobs"


@pytest.fixture
async def place(tmp_path):
    async with agent_place(tmp_path / "broker") as found:
        yield found


def announcement(job_id, *words, status="QUEUED"):
    step = {"name": "run", "type": "runCommand", "input": {"command": ",".join(words)}}
    document = {"version": "1.0", "steps": [step], "includeStdOut": True}
    return {"execution": {"jobId": job_id, "executionNumber": 1, "status": status, "jobDocument": document}}


@contextlib.asynccontextmanager
async def device(place, queue, folder, *, within_s=15.0):
    """A device that hears of jobs by MQTT, and could ask for them by HTTP."""
    store = await Store.open(folder / "agent.sqlite")
    async with CloudDouble(extra=(queue.add,)).running() as double, place.link() as link:
        cloud = Cloud(CloudAddress(double.url), UUID, lambda: KEY)
        calls = JobCalls(UUID, cloud.ask)
        messages = MqttReports(UUID, link.publish, within_s=within_s)
        runner = JobRunner(
            UUID,
            calls,
            store.metadata,
            JobSettings(cloud_jobs_polling_interval=3_600_000),
            Around(time.time, random.random, system_facts, lambda: link.is_online),
            reports=Roads(messages, calls, lambda: link.is_online),
        )
        link.on(f"{JOBS}/notify-next", runner.hear)
        link.on(f"{JOBS}/+/update/accepted", runner.hear)
        task = asyncio.create_task(runner.run())
        await until(lambda: link.is_online)
        try:
            yield runner
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cloud.close()
            await store.close()


async def test_a_job_is_announced_run_and_told_without_http(place, tmp_path):
    queue, listener = JobQueue(), place.listener(f"{JOBS}/+/update")
    async with device(place, queue, tmp_path) as runner:
        place.say(f"{JOBS}/notify-next", announcement("one", "echo", "hello"))
        told = [json.loads((await asyncio.to_thread(listener.receive)).payload) for _ in range(2)]
        accepted = {"executionState": {"status": "SUCCEEDED", "versionNumber": 2}, "timestamp": 5}
        place.say(f"{JOBS}/one/update/accepted", accepted)
        await until(lambda: runner._journal.next_report() is None)

    assert [fields["status"] for fields in told] == ["IN_PROGRESS", "SUCCEEDED"]
    assert told[1]["stdout"] == "hello\n"
    assert queue.reports == []


async def test_an_end_that_nobody_accepts_is_told_by_http(place, tmp_path):
    queue, _ = JobQueue(), place.listener(f"{JOBS}/+/update")
    async with device(place, queue, tmp_path, within_s=0.2):
        place.say(f"{JOBS}/notify-next", announcement("one", "echo", "hello"))
        await until(lambda: queue.status("one").is_final)

    assert [fields["status"] for _, fields in queue.reports] == ["IN_PROGRESS", "SUCCEEDED"]


async def test_reports_that_nobody_listens_to_go_by_http(place, tmp_path):
    queue = JobQueue()
    async with device(place, queue, tmp_path):
        place.say(f"{JOBS}/notify-next", announcement("one", "echo", "hello"))
        await until(lambda: queue.status("one").is_final)

    assert [fields["status"] for _, fields in queue.reports] == ["IN_PROGRESS", "SUCCEEDED"]


async def test_a_job_is_told_by_http_while_the_broker_is_away(place, tmp_path):
    queue, _ = JobQueue(), place.listener(f"{JOBS}/+/update")
    async with device(place, queue, tmp_path, within_s=1.0) as runner:
        place.say(f"{JOBS}/notify-next", announcement("one", "sleep", "0.5"))
        await until(runner.recent)
        await place.kill()
        await until(lambda: runner.recent()[0].status.is_final and not runner._journal.next_report())

    assert [fields["status"] for _, fields in queue.reports] == ["IN_PROGRESS", "SUCCEEDED"]


async def test_a_cancellation_is_announced(place, tmp_path):
    queue = JobQueue()
    async with device(place, queue, tmp_path):
        place.say(f"{JOBS}/notify-next", announcement("one", "sleep", "300"))
        await until(lambda: queue.reports)
        place.say(f"{JOBS}/notify-next", {"execution": {"jobId": "one", "status": "CANCELED"}})
        await until(lambda: queue.status("one").is_final)

    assert queue.end_of("one")["reason"] == "cancelled during step run"
