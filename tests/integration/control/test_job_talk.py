"""Jobs over MQTT, as the control plane says and hears them; the broker is one that remembers."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from job_cloud import JobCloud, document, served

from iotistic.contracts.job_messages import notify_topic, read_answer, read_order, update_topic
from iotistic.contracts.jobs import JobStatus
from iotistic.control.jobs.reminding import JobReminder
from iotistic.control.presence.model import Parting, Sign, Transition


@pytest.fixture
async def cloud(pool):
    async with served(JobCloud(pool)) as cloud:
        yield cloud


async def hear(cloud, device, job, message):
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    await cloud.updates.hear(update_topic(str(device.uuid), job["job_id"]), payload)


async def test_devices_are_told_of_their_jobs_and_no_more_once_they_fetched_them(cloud):
    devices = [await cloud.device() for _ in range(3)]
    job = await cloud.execute(timeout_minutes=5)
    await cloud.tick()
    said = cloud.broker.take()
    for device in devices:
        await device.poll()
    await cloud.tick(minutes=5)
    order, faults = read_order(said[0][1])

    assert sorted(topic for topic, _ in said) == sorted(notify_topic(str(one.uuid)) for one in devices)
    assert faults == []
    assert (order.job_id, order.number, order.name, order.timeout_s) == (job["job_id"], 1, "greet", 300)
    assert (order.document, order.status) == (document(), JobStatus.QUEUED)
    assert cloud.broker.take() == []


async def test_what_nobody_fetches_is_told_again_each_time_after_twice_as_long(cloud):
    """Lesson 15: who was between two connections, and does not poll while it is at the broker, never heard."""
    device = await cloud.device()
    job = await cloud.execute()
    told_at = []
    for minute in range(60):
        await cloud.tick(minutes=1)
        told_at += [minute] * len(cloud.broker.take())
    await hear(cloud, device, job, {"status": "IN_PROGRESS"})
    cloud.broker.take()
    await cloud.tick(hours=1)

    assert told_at == [0, 1, 3, 7, 15, 31]
    assert cloud.broker.take() == []


async def test_a_device_that_comes_back_hears_at_once_of_what_waits_and_not_twice_of_what_it_heard_just_now(
    cloud,
):
    """Lesson 15: a job made while a device was offline was not fetched after it came back to the broker."""
    gone, other = await cloud.device(), await cloud.device()
    waiting = await cloud.execute(target_type="device", target_devices=[str(gone.uuid)])
    later = {"scheduled_at": (cloud.clock.now + timedelta(days=2)).isoformat()}
    await cloud.execute(target_type="device", target_devices=[str(gone.uuid)], schedule=later)
    await cloud.execute(target_type="device", target_devices=[str(other.uuid)])
    await cloud.tick()
    await cloud.tick(hours=20)
    await cloud.execute(target_type="device", target_devices=[str(gone.uuid)])
    await cloud.tick()
    cloud.broker.take()
    await JobReminder(clock=cloud.clock).note(cloud.pool, [came(gone), went(other)])
    await cloud.tick()

    assert [(topic, told["execution"]["jobId"]) for topic, told in cloud.broker.take()] == [
        (notify_topic(str(gone.uuid)), waiting["job_id"])
    ]


def came(device):
    return Transition(
        device_uuid=str(device.uuid), is_online=True, at=device.cloud.clock(), reason=Sign.MQTT, epoch=1
    )


def went(device):
    return replace(came(device), is_online=False, reason=Parting.SILENT)


async def test_what_a_broker_did_not_take_is_told_later(cloud):
    await cloud.device()
    await cloud.execute()
    cloud.broker.is_away = True
    await cloud.tick()
    cloud.broker.is_away = False
    await cloud.tick(seconds=30)
    early = cloud.broker.take()
    await cloud.tick(seconds=31)

    assert early == []
    assert len(cloud.broker.take()) == 1


async def test_several_announcers_tell_each_device_once(cloud):
    for _ in range(30):
        await cloud.device()
    for _ in range(5):
        await cloud.execute()
    keepers = [cloud.another_keeper() for _ in range(4)]
    await asyncio.gather(*(keeper.tell() for keeper in keepers))
    said = cloud.broker.take()

    assert len(said) == 150
    assert len({(topic, told["execution"]["jobId"]) for topic, told in said}) == 150


async def test_a_cancellation_is_told_and_a_further_try_when_it_is_due(cloud):
    device = await cloud.device()
    job = await cloud.execute(max_attempts=2, retry_backoff_seconds=60)
    await cloud.tick()
    await hear(cloud, device, job, {"status": "IN_PROGRESS"})
    await hear(cloud, device, job, {"status": "FAILED"})
    cloud.broker.take()
    await cloud.tick(seconds=30)
    early = cloud.broker.take()
    await cloud.tick(seconds=31)
    again = cloud.broker.take()
    await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    await cloud.tick()
    cancelled = cloud.broker.take()

    assert early == []
    assert [told["execution"]["executionNumber"] for _, told in again] == [2]
    assert [(told["execution"]["status"], "jobDocument" in told["execution"]) for _, told in cancelled] == [
        ("CANCELED", False)
    ]


async def test_a_report_is_stored_with_its_output_and_then_answered(cloud):
    """Lesson 15: status over MQTT never updated the job, and output was dropped."""
    device = await cloud.device()
    job = await cloud.execute()
    report = {
        "status": "FAILED",
        "exit_code": 3,
        "stdout": "out",
        "stderr": "err",
        "reason": "exit code 3",
        "executed_steps": 1,
        "failed_step": "run",
        "status_details": {"execution_number": 1},
    }
    await hear(cloud, device, job, {"status": "IN_PROGRESS", "status_details": {"execution_number": 1}})
    await hear(cloud, device, job, report)
    answers = cloud.broker.take()
    part = await device.part(job)

    assert [topic for topic, _ in answers] == [
        f"{update_topic(str(device.uuid), job['job_id'])}/accepted"
    ] * 2
    assert [read_answer(told) for _, told in answers] == [JobStatus.IN_PROGRESS, JobStatus.FAILED]
    assert answers[1][1]["executionState"]["versionNumber"] > answers[0][1]["executionState"]["versionNumber"]
    assert {name: part[name] for name in report} == report
    assert await cloud.status(job) == "FAILED"


async def test_a_device_may_speak_of_its_jobs_under_the_canonical_name_and_is_answered_there(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    topic = f"agent/{device.uuid}/jobs/{job['job_id']}/update"
    await cloud.updates.hear(topic, b'{"status": "IN_PROGRESS"}')

    assert [(said, read_answer(told)) for said, told in cloud.broker.take()] == [
        (f"{topic}/accepted", JobStatus.IN_PROGRESS)
    ]


async def test_what_a_cancelled_job_tells_is_answered_by_the_cancellation(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
    await hear(cloud, device, job, {"status": "IN_PROGRESS"})

    assert [read_answer(told) for _, told in cloud.broker.take()] == [JobStatus.CANCELED]


async def test_a_device_may_ask_for_what_is_next(cloud):
    device = await cloud.device()
    topic = f"iot/device/{device.uuid}/jobs/start-next"
    await cloud.updates.hear(topic, b'{"clientToken": "t1"}')
    job = await cloud.execute()
    await cloud.updates.hear(topic, b"")
    (first_topic, nothing), (_, something) = cloud.broker.take()

    assert (first_topic, nothing["execution"], nothing["clientToken"]) == (f"{topic}/accepted", {}, "t1")
    assert something["execution"]["jobId"] == job["job_id"]


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"status": 5}', b"x" * 2_000_000]
)
async def test_garbage_is_dropped_and_the_next_report_is_heard(cloud, payload):
    device = await cloud.device()
    job = await cloud.execute()
    await hear(cloud, device, job, payload)
    await cloud.updates.hear("iot/device/x/jobs/y/update", payload)
    await cloud.updates.hear(f"iot/device/{device.uuid}/jobs/start-next/accepted", payload)
    await cloud.updates.hear(update_topic(str(device.uuid), str(device.uuid)), b'{"status": "FAILED"}')
    refused = cloud.broker.take()
    await hear(cloud, device, job, {"status": "SUCCEEDED"})

    assert refused == []
    assert await cloud.status(job) == "SUCCEEDED"


async def test_a_report_that_cannot_be_answered_is_stored_all_the_same(cloud):
    device = await cloud.device()
    job = await cloud.execute()
    cloud.broker.is_away = True
    await hear(cloud, device, job, {"status": "SUCCEEDED"})

    assert await cloud.status(job) == "SUCCEEDED"
