"""The live feed over real sockets: worker's side and API's side together."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from iotistic.telemetry.live.frames import StatsFrame, encode_readings, encode_stats
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.server import LiveFeedServer, socket_path
from iotistic.telemetry.live.sockets import connected_socket
from iotistic.telemetry.live.subscription import LiveFilter

EVERYTHING = LiveFilter()


def frame(rows: int, *, first: int = 0) -> bytes:
    numbers = np.arange(first, first + rows)
    return encode_readings(0, numbers.astype("i8"), numbers.astype("i4"), numbers.astype("i4"), numbers * 1.0)


async def until(condition: Callable[[], bool], *, within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - other processes and sockets set no event
            await asyncio.sleep(0.005)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder whose sockets have paths far beyond the system's 107 bytes."""
    deep = tmp_path / ("long" * 25) / ("deep" * 25)
    deep.mkdir(parents=True)
    return deep


@asynccontextmanager
async def running(hub: LiveHub) -> AsyncIterator[LiveHub]:
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_batch_reaches_a_watcher(run_folder: Path):
    server = LiveFeedServer(socket_path(run_folder, "w1"))
    await server.start()
    async with running(LiveHub(run_folder, scan_s=0.02)) as hub:
        with hub.subscribe(EVERYTHING) as subscription:
            await until(lambda: server.consumers == 1)
            server.publish(frame(3))
            delivery = await subscription.take(within_s=2)

        assert delivery is not None
        assert [list(batch.values) for batch in delivery.readings] == [[0.0, 1.0, 2.0]]
    await server.close()


async def test_the_socket_is_for_this_user_only_and_goes_with_the_server(run_folder: Path):
    path = socket_path(run_folder, "w1")
    server = LiveFeedServer(path)
    await server.start()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    await server.close()
    assert not path.exists()


async def test_a_socket_left_by_a_killed_worker_is_replaced(run_folder: Path):
    path = socket_path(run_folder, "w1")
    path.touch()
    server = LiveFeedServer(path)
    await server.start()

    async with running(LiveHub(run_folder, scan_s=0.02)) as hub:
        await until(lambda: hub.connected == 1)
    await server.close()


async def test_new_and_restarted_workers_are_found(run_folder: Path):
    async with running(LiveHub(run_folder, scan_s=0.02)) as hub:
        first = LiveFeedServer(socket_path(run_folder, "w1"))
        second = LiveFeedServer(socket_path(run_folder, "w2"))
        await first.start()
        await until(lambda: hub.connected == 1)
        await second.start()
        await until(lambda: hub.connected == 2)
        await first.close()
        await until(lambda: hub.connected == 1)
        await first.start()
        await until(lambda: hub.connected == 2)

        assert (first.consumers, second.consumers) == (1, 1)
        await first.close()
        await second.close()


async def test_a_consumer_that_does_not_read_costs_bounded_memory_and_learns_what_it_missed(run_folder: Path):
    path = socket_path(run_folder, "w1")
    server = LiveFeedServer(path, buffer_bytes=100_000)
    await server.start()
    idle = connected_socket(path)
    await until(lambda: server.consumers == 1)
    for _ in range(200):
        server.publish(frame(500))
        await asyncio.sleep(0)
    missed = server.dropped_rows

    received = asyncio.StreamReader(limit=2**24)
    transport, _ = await asyncio.get_running_loop().create_unix_connection(
        lambda: asyncio.StreamReaderProtocol(received), sock=idle
    )
    await received.readexactly(1)
    await asyncio.sleep(0.2)
    server.publish(frame(1))
    lost = (9).to_bytes(4, "little") + b"\x04" + missed.to_bytes(8, "little")

    assert missed > 0
    async with asyncio.timeout(5):
        assert (await received.readuntil(lost)).endswith(lost)
    transport.close()
    await server.close()


async def test_a_worker_that_sends_garbage_is_dropped_and_the_others_go_on(run_folder: Path):
    bad, good = (LiveFeedServer(socket_path(run_folder, name)) for name in ("bad", "good"))
    await bad.start()
    await good.start()
    async with running(LiveHub(run_folder, scan_s=5)) as hub:
        await until(lambda: hub.connected == 2)
        bad.publish(b"\x00\x00\x00\x00garbage")
        await until(lambda: hub.connected == 1)
        good.publish(encode_stats(StatsFrame("good", at_us=1_000_000, messages_total=10, rows_total=20)))
        good.publish(encode_stats(StatsFrame("good", at_us=2_000_000, messages_total=110, rows_total=320)))
        await until(lambda: any(figures.rows_per_s for figures in hub.figures()))

        [figures] = hub.figures()
        assert (figures.messages_per_s, figures.rows_per_s) == (100, 300)
    await bad.close()
    await good.close()
