"""The agent's own jobs against this control plane: by HTTP, over a real broker, and as a whole process."""

import asyncio
import contextlib
import random
import sys
import time
import uuid as uuids

import pytest
from device_cloud import build
from device_cloud import served as served_devices
from job_cloud import JobCloud, Roles, document, served
from test_real_agent import AgentHost, eventually
from tests.integration.agent.agent_broker import UUID, agent_place, until

from iotistic.agent.jobs.facts import system_facts
from iotistic.agent.jobs.model import Around
from iotistic.agent.jobs.roads import MqttReports, Roads
from iotistic.agent.jobs.runner import JobRunner
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.cloud import Cloud, CloudAddress
from iotistic.agent.link.job_calls import JobCalls
from iotistic.agent.store.store import Store
from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.jobs.device_routes import device_job_router
from iotistic.control.jobs.messages import Announcer, JobUpdates
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.web.attempts import FailedAttempts


@pytest.fixture
async def cloud(pool):
    async with served(JobCloud(pool)) as cloud:
        yield cloud


class AskedCalls(JobCalls):
    """Tells when the first poll was answered."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = asyncio.Event()

    async def next_job(self):
        try:
            return await super().next_job()
        finally:
            self.asked.set()


@contextlib.asynccontextmanager
async def working(cloud, device, folder, *, link=None):
    """The agent's jobs on a device; over MQTT where there is a link."""
    uuid, store = str(device.uuid), await Store.open(folder / f"{device.uuid}.sqlite")
    line = Cloud(CloudAddress(cloud.url), uuid, lambda: device.key)
    calls = AskedCalls(uuid, line.ask)
    announces = (lambda: link.is_online) if link else (lambda: False)
    reports = Roads(MqttReports(uuid, link.publish), calls, announces) if link else None
    settings = JobSettings(cloud_jobs_polling_interval=3_600_000 if link else 1000)
    around = Around(time.time, random.random, system_facts, announces)
    runner = JobRunner(uuid, calls, store.metadata, settings, around, reports=reports, grace_s=0.5)
    if link:
        link.on(f"iot/device/{uuid}/jobs/notify-next", runner.hear)
        link.on(f"iot/device/{uuid}/jobs/+/update/accepted", runner.hear)
    task = asyncio.create_task(runner.run())
    if link:
        await calls.asked.wait()  # the poll of the start would hand out what is to be announced
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await line.close()
        await store.close()


async def over(cloud, job):
    async def ended():
        found = await cloud.job(job)
        return found["job"]["finished_at"] and found

    return await eventually(ended)


async def test_the_agent_does_its_jobs_and_tells(cloud, tmp_path):
    device = await cloud.device()
    good = await cloud.execute(job_name="good")
    cloud.clock.forward(seconds=1)
    bad = await cloud.execute(job_name="bad", job_document=document("sh", "-c", "echo oops >&2; exit 3"))
    cloud.clock.forward(seconds=1)
    long = await cloud.execute(job_document=document(sys.executable, "-c", "print('ä' * 100000)"))
    async with working(cloud, device, tmp_path):
        await over(cloud, long)
    parts = [await device.part(job) for job in (good, bad, long)]

    assert [one["status"] for one in parts] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert (parts[0]["stdout"], parts[1]["stderr"], parts[1]["exit_code"]) == ("hello\n", "oops\n", 3)
    assert "left out" in parts[2]["stdout"]


async def test_a_job_that_fails_is_run_again_by_the_agent(cloud, tmp_path):
    device = await cloud.device()
    script = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3"
    job = await cloud.execute(
        job_document=document("sh", "-c", script), max_attempts=3, retry_backoff_seconds=1
    )
    async with working(cloud, device, tmp_path) as runner:

        async def hurry():
            cloud.clock.forward(seconds=1)
            runner.ask_now()
            return await cloud.status(job) == "SUCCEEDED"

        await eventually(hurry)
    part = await device.part(job)

    assert (part["execution_number"], part["status"]) == (3, "SUCCEEDED")
    assert (tmp_path / "tries").read_text() == "x\n" * 3


async def test_an_agent_that_only_polls_ends_what_was_cancelled(cloud, tmp_path):
    device = await cloud.device()
    job = await cloud.execute(job_document=document("sleep", "300"))
    async with working(cloud, device, tmp_path):
        await eventually(lambda: _is(cloud, job, "IN_PROGRESS"))
        await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
        part = await eventually(lambda: _said(device, job))

    assert (part["status"], part["said_by_device"]) == ("CANCELED", "CANCELED")


async def test_an_agent_that_forgot_everything_does_not_hold_up_what_comes_next(cloud, tmp_path):
    device = await cloud.device()
    lost = await cloud.execute(timeout_minutes=1)
    await device.told(lost, "IN_PROGRESS", number=1)
    following = await cloud.execute(job_name="following")
    async with working(cloud, device, tmp_path):
        await over(cloud, following)
    await cloud.tick(minutes=17)

    assert await cloud.status(lost) == "TIMED_OUT"


async def test_over_a_broker_jobs_are_announced_told_and_cancelled_without_a_poll(cloud, tmp_path):
    device = await cloud.device(uuid=uuids.UUID(UUID))
    async with agent_place(tmp_path / "broker") as place, place.online() as link:
        access = place.broker.server.access
        settings = MqttSettings(mqtt_service_port=access.port, mqtt_service_password=access.password)
        async with connect(settings, client_id="jobs") as client, working(cloud, device, tmp_path, link=link):
            announcer = Announcer(cloud.pool, client, clock=cloud.clock)
            updates = JobUpdates(cloud.reports, client, clock=cloud.clock)
            listening = asyncio.create_task(updates.run(client))
            await until(lambda: link.is_online)
            target = {"target_type": "device", "target_devices": [UUID]}
            job = await cloud.execute(**target)
            told = await announcer.announce()
            await over(cloud, job)
            long = await cloud.execute(job_document=document("sleep", "300"), **target)
            await announcer.announce()
            await eventually(lambda: _is(cloud, long, "IN_PROGRESS"))
            await cloud.ask("POST", f"/jobs/executions/{long['job_id']}/cancel")
            await announcer.announce()
            cancelled = await eventually(lambda: _said(device, long))
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    part = await device.part(job)

    assert told == 1
    assert (part["status"], part["stdout"], part["handed_at"]) == ("SUCCEEDED", "hello\n", None)
    assert (cancelled["status"], cancelled["said_by_device"], cancelled["handed_at"]) == (
        "CANCELED",
        "CANCELED",
        None,
    )


async def test_a_whole_agent_gets_a_job_that_is_older_than_itself(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("ENABLE_CLOUD_JOBS", "true")
    monkeypatch.setenv("CLOUD_JOBS_POLLING_INTERVAL", "1000")
    built = build(pool)
    jobs = JobCloud(pool)
    built.app.include_router(device_job_router(jobs.reports), prefix="/api/v1")
    sources = {"callers": Roles(), "devices": FleetDeviceSource(built.devices)}
    install_gate(
        built.app, Gate(addresses=ClientAddresses(), attempts=FailedAttempts(limit=100_000), **sources)
    )
    async with served(jobs), served_devices(built) as cloud:
        job = await jobs.execute(execution_type="continuous")
        host = AgentHost(tmp_path, cloud, await cloud.key())
        async with host.agent():

            async def succeeded():
                await jobs.tick()
                return (await jobs.job(job))["job"]["summary"]["succeeded"]

            await eventually(succeeded)
        part = (await jobs.job(job))["device_statuses"][0]

    assert (part["status"], part["stdout"]) == ("SUCCEEDED", "hello\n")


async def _is(cloud, job, status):
    return await cloud.status(job) == status


async def _said(device, job):
    part = await device.part(job)
    return part["said_by_device"] and part
