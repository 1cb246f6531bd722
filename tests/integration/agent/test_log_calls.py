"""Lines of the log to a cloud over real HTTP."""

import asyncio
import contextlib
import json

import pytest
from tests.integration.agent.cloud_double import KEY, UUID, CloudDouble
from tests.integration.agent.double_logs import LogsDouble

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable
from iotistic.agent.link.log_calls import LogCalls
from iotistic.agent.link.transport import CloudAddress
from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType
from iotistic.agent.logs.hub import LogHub
from iotistic.agent.logs.shipper import LogShipper
from iotistic.agent.logs.shipping import Shipping


def entry(number, text=""):
    source = Source(SourceType.CONTAINER, "web")
    return LogEntry(f"e{number}", text or f"line {number} ✓", 1000, Level.ERROR, source, "3", "web", "c1")


@contextlib.asynccontextmanager
async def talking(key=KEY):
    double = LogsDouble()
    async with CloudDouble(extra=(double.add,)).running() as server:
        cloud = Cloud(CloudAddress(server.url), UUID, lambda: key)
        try:
            yield double, cloud
        finally:
            await cloud.close()


@contextlib.asynccontextmanager
async def shipping(cloud, **more):
    wanted = Shipping(lines_per_minute=0, urgent_flush_s=0.0, **more)

    async def pause(seconds):
        await asyncio.sleep(min(seconds, 0.01))

    shipper = LogShipper(LogCalls(cloud, UUID), wanted, clock=lambda: 5.0, chance=lambda: 0.5, pause=pause)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met):
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("is_compressed", [True, False])
async def test_lines_arrive_as_they_are(is_compressed):
    async with talking() as (double, cloud), shipping(cloud, is_compressed=is_compressed) as shipper:
        hub = LogHub(lambda: 5.0)
        hub.listen(shipper.take)
        for number in range(300):
            hub.add(entry(number))
        await until(lambda: shipper.sent == 300)

        assert double.lines == [json.loads(entry(number).written()) for number in range(300)]
        headers, _, uuid = double.requests[0]
        assert headers["Content-Type"] == "application/x-ndjson"
        assert (headers.get("Content-Encoding") == "gzip") is is_compressed
        assert uuid == UUID
        assert cloud.budget.sent[Purpose.CONTROL] == 0
        assert 0 < cloud.budget.sent[Purpose.LOGS] < (10_000 if is_compressed else 100_000)


async def test_lines_that_a_hundred_share_a_request_with_cost_little():
    async with talking() as (_, cloud):
        calls = []
        for count in (1, 10, 100):
            before = cloud.budget.total
            async with shipping(cloud) as shipper:
                for number in range(count):
                    shipper.take(entry(number, f"2026-11-21T12:00:{number:02} GET /api/{number * 7919} 500"))
                await until(lambda: shipper.sent == count)  # noqa: B023  awaited at once
            calls.append((cloud.budget.total - before) / count)

    assert calls[0] > 5 * calls[1] > 10 * calls[2]


async def test_a_cloud_that_fails_gets_every_line_later():
    async with talking() as (double, cloud), shipping(cloud) as shipper:
        double.instead = [503, 502, 429, 500, 500]
        for number in range(50):
            shipper.take(entry(number))
        await until(lambda: shipper.sent == 50)

        assert [line["id"] for line in double.lines] == [f"e{number}" for number in range(50)]
        assert len(double.requests) == 6


async def test_a_cloud_that_refuses_a_batch_gets_the_next_and_a_word_on_the_first():
    async with talking() as (double, cloud), shipping(cloud, flush_s=0.05) as shipper:
        double.instead = [413]
        for number in range(100):
            shipper.take(entry(number))
        await until(lambda: len(double.requests) == 1)
        shipper.take(entry(100))
        await until(lambda: len(double.lines) == 2)

        assert sorted(double.messages) == [
            "100 lines of web were not sent: the cloud refused them",
            "line 100 ✓",
        ]


async def test_a_cloud_that_comes_late_gets_what_waited():
    cloud = Cloud(CloudAddress("http://127.0.0.1:9/api/v1"), UUID, lambda: KEY)
    async with talking() as (double, there), shipping(cloud) as shipper:
        shipper.take(entry(1))
        await until(lambda: shipper._failures > 6)
        cloud.transport.address = there.transport.address
        await until(lambda: shipper.sent == 1)

        assert double.messages == ["line 1 ✓"]
    await cloud.close()


async def test_each_failure_is_one_of_our_errors():
    async with talking("wrong") as (double, cloud):
        with pytest.raises(CloudDenied):
            await LogCalls(cloud, UUID).send_logs(b"{}\n", is_gzip=False)
    async with talking() as (double, cloud):
        double.instead = [400, 500]
        with pytest.raises(CloudRefused):
            await LogCalls(cloud, UUID).send_logs(b"{}\n", is_gzip=False)
        with pytest.raises(CloudUnavailable) as raised:
            await LogCalls(cloud, UUID).send_logs(b"{}\n", is_gzip=False)
        assert raised.value.fields["status"] == 500
