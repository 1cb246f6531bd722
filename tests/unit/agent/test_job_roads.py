"""The roads of reports: messages while they arrive, HTTP otherwise."""

import json

import pytest
from job_rig import MemoryCloud, order, shell, until, working

from iotistic.agent.jobs.roads import MqttReports, Roads
from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import CloudRefused, MqttOffline, MqttUnheard
from iotistic.contracts.jobs import JobStatus

TOPIC = "iot/device/u/jobs/one/update"
BEGUN, DONE = {"status": "IN_PROGRESS"}, {"status": "SUCCEEDED"}
ACCEPTED = b'{"executionState": {"status": "SUCCEEDED", "versionNumber": 3}, "timestamp": 5}'


class Broker:
    """Takes messages, and answers as the cloud behind it would."""

    def __init__(self, *faults, answers=((f"{TOPIC}/accepted", ACCEPTED),)):
        self.published, self.faults, self.answers = [], list(faults), answers
        self.reports = MqttReports("u", self.publish, within_s=0.1)

    async def publish(self, topic, payload, purpose):
        if self.faults:
            raise self.faults.pop()
        self.published.append((topic, json.loads(payload), purpose))
        for answer in self.answers:
            self.reports.hear(*answer)


async def test_a_report_is_a_message_while_the_road_is_open():
    broker, cloud = Broker(), MemoryCloud()
    roads = Roads(broker.reports, cloud, lambda: True)

    assert await roads.report("one", BEGUN) is None
    assert await roads.report("one", DONE) is JobStatus.SUCCEEDED
    assert broker.published == [(TOPIC, BEGUN, Purpose.CONTROL), (TOPIC, DONE, Purpose.CONTROL)]
    assert cloud.reports == []


async def test_a_closed_road_is_not_tried():
    broker, cloud = Broker(), MemoryCloud()
    await Roads(broker.reports, cloud, lambda: False).report("one", DONE)

    assert broker.published == []
    assert cloud.statuses("one") == ["SUCCEEDED"]


@pytest.mark.parametrize("fault", [MqttOffline(), MqttUnheard()])
async def test_what_the_broker_does_not_take_goes_by_http(fault):
    broker, cloud = Broker(fault), MemoryCloud()
    await Roads(broker.reports, cloud, lambda: True).report("one", BEGUN)

    assert cloud.statuses("one") == ["IN_PROGRESS"]


async def test_a_report_that_is_too_large_for_a_message_goes_by_http():
    broker, cloud = Broker(), MemoryCloud()
    await Roads(broker.reports, cloud, lambda: True).report("one", {**DONE, "stdout": "x" * 300_000})

    assert broker.published == []
    assert cloud.statuses("one") == ["SUCCEEDED"]


@pytest.mark.parametrize(
    "answers", [(), (("iot/device/u/jobs/two/update/accepted", ACCEPTED),), ((TOPIC, ACCEPTED),)]
)
async def test_an_end_that_the_cloud_does_not_accept_goes_by_http_too(answers):
    broker, cloud = Broker(answers=answers), MemoryCloud()
    roads = Roads(broker.reports, cloud, lambda: True)
    await roads.report("one", BEGUN)
    await roads.report("one", DONE)

    assert [fields for _, fields, _ in broker.published] == [BEGUN, DONE]
    assert cloud.statuses("one") == ["SUCCEEDED"]


async def test_a_cloud_that_missed_the_beginning_is_told_it_before_the_end():
    broker, cloud = Broker(answers=()), MemoryCloud()
    cloud.answers = [CloudRefused("a job that is QUEUED cannot become SUCCEEDED", status=409)]
    await Roads(broker.reports, cloud, lambda: True).report("one", DONE)

    assert cloud.statuses("one") == ["IN_PROGRESS", "SUCCEEDED"]


@pytest.mark.parametrize(("fields", "status"), [(DONE, 400), (BEGUN, 409), ({"status": "CANCELED"}, 409)])
async def test_any_other_refusal_stays_one(fields, status):
    cloud = MemoryCloud()
    cloud.answers = [CloudRefused("no", status=status)]
    with pytest.raises(CloudRefused):
        await Roads(Broker().reports, cloud, lambda: False).report("one", fields)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 100_000, b"5", b"{}"])
async def test_an_answer_that_cannot_be_read_is_an_answer(payload):
    broker = Broker(answers=((f"{TOPIC}/accepted", payload), (f"{TOPIC}/accepted", payload)))
    assert await broker.reports.report("one", DONE) is None


async def test_an_answer_that_nobody_waits_for_is_nothing():
    Broker().reports.hear(f"{TOPIC}/accepted", ACCEPTED)


async def test_a_runner_passes_answers_on_to_its_roads():
    cloud, broker = MemoryCloud(), Broker(answers=())
    broker.reports = MqttReports("u", broker.publish, within_s=60)
    roads = Roads(broker.reports, cloud, lambda: True)
    async with working(cloud, reports=roads) as runner:
        runner.notify(order("one", shell("fine", "true")))
        await until(lambda: len(broker.published) == 2)
        waiting = runner._journal.next_report()
        runner.hear(f"{TOPIC}/accepted", ACCEPTED)
        await until(lambda: runner._journal.next_report() is None)

    assert waiting is not None
    assert cloud.reports == []
