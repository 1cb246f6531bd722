"""The live stream: soon, only what was asked for, honest about what was dropped."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from api_builders import until

from iotistic.telemetry.live.frames import EventsFrame, LiveEvent, encode_events, encode_readings
from iotistic.telemetry.live.server import LiveFeedServer, socket_path

NOON_US = 1_773_144_000_000_000  # 2026-03-10T12:00:00Z


@pytest.fixture
async def worker(run_folder, hub):
    worker = LiveFeedServer(socket_path(run_folder, "w1"))
    await worker.start()
    await until(lambda: worker.consumers == 1)
    yield worker
    await worker.close()


def readings(rows: list[tuple[int, int, float]]) -> bytes:
    devices, datapoints, values = zip(*rows, strict=True)
    times = NOON_US + np.arange(len(rows))
    return encode_readings(
        0, times, np.array(devices, "i4"), np.array(datapoints, "i4"), np.array(values, "f8")
    )


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


async def take(source: AsyncIterator, count: int) -> list:
    async with asyncio.timeout(5):
        return [await anext(source) for _ in range(count)]


async def test_a_reading_arrives_within_250_ms_with_its_label(api, store, hub, worker):
    device = await store.device("boiler")
    datapoint = await store.datapoint("temperature", unit="°C")
    async with api.stream("GET", "/stream") as answer:
        source = events(answer.aiter_lines())
        waits_s = []
        for _ in range(5):
            received = asyncio.create_task(take(source, 1))
            await until(lambda: hub.watchers == 1)
            started = time.monotonic()
            worker.publish(readings([(device, datapoint, 21.5)]))
            await received
            waits_s.append(time.monotonic() - started)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert received.result() == [
        (
            "reading",
            {
                "device_id": device, "datapoint_id": datapoint, "label": "temperature", "unit": "°C",
                "timestamp": "2026-03-10T12:00:00.000000Z", "value": 21.5,
            },
        )
    ]  # fmt: skip
    assert sorted(waits_s)[2] < 0.25
    await until(lambda: hub.watchers == 0)


async def test_only_what_was_asked_for_is_sent(api, store, hub, worker):
    first, second = await store.device("first"), await store.device("second")
    wanted, other = await store.datapoint("wanted"), await store.datapoint("other")
    async with api.stream("GET", "/stream", params={"device": "first", "datapoint": ["wanted"]}) as answer:
        source = events(answer.aiter_lines())
        task = asyncio.create_task(take(source, 2))
        await until(lambda: hub.watchers == 1)
        worker.publish(
            readings([(first, other, 1), (second, wanted, 2), (first, wanted, 3), (second, other, 4)])
        )
        worker.publish(encode_events(EventsFrame(0, [LiveEvent(NOON_US, first, wanted, 'a "card"\n')])))
        received = await task

    assert [(name, data["value"]) for name, data in received] == [("reading", 3), ("text", 'a "card"\n')]


async def test_a_stream_of_an_unknown_device_is_refused(api):
    answer = await api.get("/stream", params={"device": "nobody"})

    assert (answer.status_code, answer.json()["code"]) == (404, "device.unknown")


async def test_a_client_that_does_not_read_is_told_what_it_missed(api, store, hub, worker):
    device, datapoint = await store.device("boiler"), await store.datapoint("t")
    rows = [(device, datapoint, float(n)) for n in range(10_000)]
    async with api.stream("GET", "/stream") as answer:
        await until(lambda: hub.watchers == 1)
        for _ in range(12):
            worker.publish(readings(rows))
            await asyncio.sleep(0.02)
        names = []
        sent = 0
        async with asyncio.timeout(20):
            async for name, data in events(answer.aiter_lines()):
                names.append(name)
                sent += data.get("rows", 1)
                if sent == 120_000:
                    break

    assert "dropped" in names
    assert sent == 120_000


async def test_stopping_the_server_ends_streams_at_once(api, server, hub, worker):
    async with api.stream("GET", "/stream") as answer:
        await until(lambda: hub.watchers == 1)
        started = time.monotonic()
        await server.stop()
        text = (await answer.aread()).decode()

    assert text.startswith("retry: ")
    assert time.monotonic() - started < 2
