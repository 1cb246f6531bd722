"""What containers of a real Docker print: in parts, in floods, in loops, and while Docker dies."""

import asyncio
import contextlib
import time

import pytest
from benchmarks.docker_device import Device, shop
from benchmarks.docker_server import DockerMissing, DockerServer
from engine_hands import service
from tests.integration.agent.cloud_double import KEY, UUID, CloudDouble
from tests.integration.agent.double_logs import LogsDouble

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.lines import CUT, MOST_BYTES
from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.log_calls import LogCalls
from iotistic.agent.link.transport import CloudAddress
from iotistic.agent.logs.collector import LogCollector
from iotistic.agent.logs.entry import Level
from iotistic.agent.logs.hub import LogHub
from iotistic.agent.logs.shipper import LogShipper
from iotistic.agent.logs.shipping import Shipping
from iotistic.agent.logs.watched import Watched
from iotistic.agent.store.store import Store
from iotistic.planning.model import Restart

LASTS = "trap 'exit 0' TERM; sleep 100000 & wait"


async def until(met, within_s=30):
    async with asyncio.timeout(within_s):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)


async def started(engine, script, name="web", **config):
    wanted = service("db:1", name, command=("sh", "-c", script), **config)
    container_id = await engine.create(wanted)
    await engine.start(container_id)
    return container_id


async def printed(engine, container_id, **options):
    return [line async for line in engine.logs(container_id, **options)]


@contextlib.asynccontextmanager
async def collecting(engine, most=100_000, memory=None):
    """A hub that gets the lines of all containers that the engine shows."""
    hub = LogHub(time.time, most=most, most_bytes=64 << 20)
    seen = list((await engine.observe()).containers)
    collector = LogCollector(
        engine, lambda: seen, hub.add, time.time, memory=memory, look_every_s=0.1, lines_per_s=10_000
    )

    async def look():
        while True:
            with contextlib.suppress(EngineUnavailable):
                seen[:] = (await engine.observe()).containers
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(look()), asyncio.create_task(collector.run())]
    try:
        yield hub
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def said(hub):
    return [entry.message for entry in hub.recent(200_000)]


async def test_parts_of_lines_and_of_characters_are_put_together(docker_engine):
    script = r"printf 'pri'; sleep 0.1; printf 'ce: \342\202'; sleep 0.1; printf '\254 5\n'; printf 'no end'"
    container_id = await started(docker_engine, script, restart=Restart.NO)
    lines = await printed(docker_engine, container_id)

    assert [line.text for line in lines] == ["price: € 5", "no end"]


async def test_the_last_words_of_a_container_are_never_missing(docker_engine):
    for number in range(12):  # Docker itself leaves them out of a stream that is followed, one time in three
        container_id = await started(
            docker_engine, "sleep 0.05; echo a; printf 'last words'", str(number), restart=Restart.NO
        )
        assert [line.text for line in await printed(docker_engine, container_id)] == ["a", "last words"]


async def test_bytes_that_are_no_text_do_no_harm(docker_engine):
    container_id = await started(docker_engine, r"printf '\377\376 \000x\n\n\ny\n'", restart=Restart.NO)

    assert [line.text for line in await printed(docker_engine, container_id)] == [
        "\ufffd\ufffd \0x",
        "",
        "",
        "y",
    ]


async def test_a_long_line_is_cut_and_the_next_is_whole(docker_engine):
    script = "i=0; while [ $i -lt 4000 ]; do printf 'ééééé'; i=$((i+1)); done; echo; echo next"
    container_id = await started(docker_engine, script, restart=Restart.NO)
    long, after = await printed(docker_engine, container_id)

    assert long.text == "é" * (MOST_BYTES // 2) + CUT
    assert after.text == "next"


async def test_a_container_with_a_terminal_is_read_as_well(docker, docker_engine):
    labels = [f"--label=iotistic.{name}=7" for name in ("app-id", "app-name", "service-id", "service-name")]
    script = "echo hé; echo two >&2; " + LASTS
    made = docker.run("run", "--detach", "--tty", *labels, "db:1", "sh", "-c", script)
    lines = []
    async with asyncio.timeout(10):
        async for line in docker_engine.logs(made.stdout.strip()):
            lines.append(line)
            if len(lines) == 2:
                break

    assert [(line.text, line.is_stderr) for line in lines] == [("hé", False), ("two", False)]


async def test_a_flood_is_read_whole_and_in_order(docker_engine):
    script = f"i=0; while [ $i -lt 50000 ]; do echo line $i; i=$((i+1)); done; {LASTS}"
    await started(docker_engine, script)
    async with collecting(docker_engine) as hub:
        await until(lambda: len(hub.recent(100_000)) == 50_000, 60)

    assert said(hub) == [f"line {number}" for number in range(50_000)]
    assert len({entry.id for entry in hub.recent(100_000)}) == 50_000


async def test_a_flood_leaves_no_more_than_the_ring_holds(docker_engine):
    script = f"i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; {LASTS}"
    await started(docker_engine, script)
    async with collecting(docker_engine, most=1000) as hub:
        await until(lambda: said(hub)[-1:] == ["line 4999"])

    assert said(hub) == [f"line {number}" for number in range(4000, 5000)]


async def test_what_is_rotated_away_under_a_reader_is_not_lost(docker, docker_engine):
    labels = [f"--label=iotistic.{name}=7" for name in ("app-id", "app-name", "service-id", "service-name")]
    script = f"i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); busybox usleep 200; done; {LASTS}"
    options = ["--log-opt=max-size=50k", "--log-opt=max-file=3"]
    docker.run("run", "--detach", *options, *labels, "db:1", "sh", "-c", script)
    async with collecting(docker_engine) as hub:
        await until(lambda: said(hub)[-1:] == ["line 3999"])

    assert said(hub) == [f"line {number}" for number in range(4000)]


async def test_a_container_in_a_loop_is_read_through_all_its_runs(docker_engine):
    await started(docker_engine, "echo begin >&2; sleep 0.3; echo end >&2; exit 1", restart=Restart.ALWAYS)
    async with collecting(docker_engine) as hub:
        await until(lambda: said(hub).count("end") >= 4)

    lines = said(hub)
    assert lines[: len(lines) // 2 * 2] == ["begin", "end"] * (len(lines) // 2)


async def test_many_that_are_followed_keep_no_call_waiting(docker_engine):
    container_id = await started(docker_engine, "echo here; " + LASTS)
    following = [docker_engine.logs(container_id) for _ in range(40)]
    for one in following:
        assert (await anext(one)).text == "here"
    async with asyncio.timeout(5):
        assert (await docker_engine.observe()).containers
    for one in following:
        await one.aclose()


async def test_lines_of_services_come_under_their_names(docker):
    async with Device(docker).running() as device:
        await device.settle(shop(command=["sh", "-c", "echo from web; " + LASTS]))
        hub = LogHub(time.time)
        collector = LogCollector(device.engine, Watched(device.loop), hub.add, time.time, look_every_s=0.1)
        task = asyncio.create_task(collector.run())
        await until(lambda: hub.recent(1, "web"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    (entry,) = hub.recent(1, "web")
    assert (entry.message, entry.service_id, entry.service_name) == ("from web", "1", "web")


async def test_an_agent_that_starts_again_goes_on_from_its_disk(docker_engine, tmp_path):
    script = f"i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; {LASTS}"
    await started(docker_engine, script)
    found = []
    for most in (50, 150, 300):
        store = await Store.open(tmp_path / "agent.sqlite")
        async with collecting(docker_engine, memory=store.metadata) as hub:
            await until(lambda: len(found) + len(hub.recent(1000)) >= most)  # noqa: B023  awaited at once
        found += said(hub)
        await store.close()

    assert found == [f"line {number}" for number in range(300)]


def sent(double):
    return sum("not sent" not in message for message in double.messages)


def lost(double):
    """Return how many lines were said to be lost."""
    return sum(
        int(message.split()[0])
        for message in double.messages
        if message.endswith("of web were not sent: rate")
    )


async def test_what_containers_print_arrives_in_the_cloud(docker):
    double = LogsDouble()
    async with CloudDouble(extra=(double.add,)).running() as server, Device(docker).running() as device:
        cloud = Cloud(CloudAddress(server.url), UUID, lambda: KEY)
        sending = Shipping(shares={Level.INFO: 0.0}, urgent_flush_s=0.1, flush_s=0.1, lines_per_minute=30)
        shipper = LogShipper(LogCalls(cloud, UUID), sending, clock=time.time, chance=lambda: 0.5)
        hub = LogHub(time.time)
        hub.listen(shipper.take)
        collector = LogCollector(device.engine, Watched(device.loop), hub.add, time.time, look_every_s=0.1)
        tasks = [asyncio.create_task(part.run()) for part in (collector, shipper)]
        script = "echo fine; echo oh no >&2; i=0; while [ $i -lt 500 ]; do echo ERROR $i; i=$((i+1)); done; "
        await device.settle(shop(command=["sh", "-c", script + LASTS]))
        await until(lambda: sent(double) + lost(double) == 501)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await cloud.close()

    assert {line["serviceName"] for line in double.lines} == {"web"}
    assert "fine" not in double.messages
    assert 30 <= sent(double) < 40


@pytest.fixture
def mortal():
    """A dockerd that may be killed."""
    server = DockerServer()
    try:
        server.start()
    except DockerMissing as exc:
        server.stop()
        pytest.skip(exc.message)  # the shared one fails where it has to be there
    yield server
    server.stop()


async def test_a_docker_that_is_killed_costs_no_line_and_repeats_none(mortal):
    engine = DockerEngine(mortal.socket)
    script = "i=0; while :; do echo $HOSTNAME $i >&2; i=$((i+1)); sleep 0.01; done"
    container_id = await started(engine, script)
    async with collecting(engine) as hub:
        await until(lambda: len(said(hub)) > 50)
        following = engine.logs(container_id, since=time.time() + 1000)
        ended = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(mortal.kill)
        with pytest.raises(EngineUnavailable):
            await ended
        before = len(said(hub))
        await asyncio.to_thread(mortal.launch)
        await until(lambda: len(said(hub)) > before + 100, 60)
        await engine.stop(container_id, 1)
        kept = [line.text for line in await printed(engine, container_id)]
        await until(lambda: len(said(hub)) >= len(kept))
    await engine.close()

    assert said(hub) == kept
    assert kept.count(kept[0]) == 2  # it ran twice
