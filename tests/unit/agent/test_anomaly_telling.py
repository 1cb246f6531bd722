"""Ten at most, once a minute at most, nothing lost offline, nothing twice after its acknowledgement."""

import asyncio
import contextlib

import pytest
from anomaly_rig import START, AnomalyRig

from iotistic.agent.anomalies.telling import AnomalyTeller
from iotistic.agent.link.errors import CloudRefused
from iotistic.detection.feedback import Verdict
from iotistic.kernel.errors import Unavailable


class Cloud:
    def __init__(self, status=400, refuses=""):
        self.reports, self.fails = [], False
        self.status, self.refuses, self.attempts = status, refuses, 0

    async def report(self, fields, _purpose):
        self.attempts += 1
        if self.fails:
            raise Unavailable(retry_after_s=0.001)
        if self.refuses and self.refuses in [one["metric"] for one in fields["anomalies"]]:
            raise CloudRefused(status=self.status)
        self.reports.append(fields)

    def ids(self):
        return [one["id"] for fields in self.reports for one in fields["anomalies"]]


@pytest.fixture
async def rig(tmp_path):
    return AnomalyRig(tmp_path, save_every_s=1e12)


@contextlib.asynccontextmanager
async def telling(rig, watch, cloud, every_s=0.02):
    teller = AnomalyTeller(cloud, watch.journal, "u", clock=rig.clock, chance=lambda: 0.5, every_s=every_s)
    teller._pace.failed = lambda now, _chance, retry_after_s: now + retry_after_s
    running = asyncio.create_task(teller.run())
    try:
        yield teller
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not watch.journal._listeners


async def made(watch, count, start=0):
    return [
        (await watch.test({"metric": f"m{number}"}))["anomaly"]["id"]
        for number in range(start, start + count)
    ]


async def test_one_that_the_cloud_never_takes_does_not_hold_up_the_others(rig):
    cloud = Cloud(refuses="test/m3")
    async with rig.running() as watch:
        ids = await made(watch, 25)
        async with telling(rig, watch, cloud):
            await rig.until(lambda: len(cloud.ids()) == 24)

    assert cloud.ids() == [*ids[:3], *ids[4:]]
    assert [len(one["anomalies"]) for one in cloud.reports] == [1, 1, 1, 10, 10, 1]


async def test_a_cloud_that_does_not_know_the_way_costs_no_anomaly(rig):
    cloud = Cloud(404, refuses="test/m0")
    async with rig.running() as watch:
        ids = await made(watch, 2)
        async with telling(rig, watch, cloud):
            await rig.until(lambda: cloud.attempts > 3)
            cloud.refuses = ""
            await rig.until(lambda: cloud.ids() == ids)


async def test_what_was_found_offline_goes_out_ten_by_ten_the_oldest_first(rig):
    cloud = Cloud()
    async with rig.running() as watch:
        ids = await made(watch, 25)
        async with telling(rig, watch, cloud):
            await rig.until(lambda: len(cloud.ids()) == 25)

    assert [len(one["anomalies"]) for one in cloud.reports] == [10, 10, 5]
    assert cloud.ids() == ids
    assert all(one["is_online"] for one in cloud.reports)


async def test_a_cloud_that_is_away_costs_nothing_and_hears_of_each_once(rig):
    cloud = Cloud()
    cloud.fails = True
    async with rig.running() as watch, telling(rig, watch, cloud):
        ids = await made(watch, 3)
        await asyncio.sleep(0.02)
        cloud.fails = False
        await rig.until(lambda: len(cloud.ids()) == 3)
        ids += await made(watch, 1, 3)
        await rig.until(lambda: len(cloud.ids()) == 4)
    async with rig.running() as watch, telling(rig, watch, cloud):
        ids += await made(watch, 1, 4)
        await rig.until(lambda: len(cloud.ids()) == 5)

    assert cloud.ids() == ids


async def test_reports_keep_their_distance(rig):
    cloud = Cloud()
    async with rig.running() as watch, telling(rig, watch, cloud, every_s=60.0):
        await made(watch, 1)
        await rig.until(lambda: cloud.reports)
        await made(watch, 2, 1)
        await asyncio.sleep(0.05)

        assert len(cloud.reports) == 1


async def test_what_people_say_of_it_is_told_again(rig):
    cloud = Cloud()
    async with rig.running() as watch, telling(rig, watch, cloud):
        [name] = await made(watch, 1)
        await rig.until(lambda: cloud.reports)
        await watch.feedback(name, Verdict.WRONG)
        await rig.until(lambda: len(cloud.reports) == 2)

    assert [one["anomalies"][0].get("feedback") for one in cloud.reports] == [None, "wrong"]


async def test_how_often_it_happened_is_told_once_when_it_is_over(rig):
    async with rig.running() as watch:
        await rig.learned()
        await rig.feed([22.3])
        await watch.journal.told(watch.journal.untold(rig.now, 10))
        await rig.feed([90.0])
        soon = watch.journal.untold(rig.now, 10)
        [over] = watch.journal.untold(rig.now + 3600, 10)
        await watch.journal.told([over])

        assert soon == []
        assert over.incident.count == 2
        assert watch.journal.untold(rig.now + 7200, 10) == []
        assert watch.journal.untold(START, 10) == []


async def test_what_changed_while_a_report_was_under_way_is_told_with_the_next(rig):
    async with rig.running() as watch:
        await made(watch, 1)
        waiting = watch.journal.untold(rig.now, 10)
        await watch.feedback(waiting[0].id, Verdict.EXPECTED)
        await watch.journal.told(waiting)

        assert [one.verdict for one in watch.journal.untold(rig.now, 10)] == [Verdict.EXPECTED]
