"""How much of what containers print a real Docker keeps."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from benchmarks.docker_server import DockerMissing, DockerServer
from engine_hands import service

from iotistic.agent.engines.docker.client import DockerClient
from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.log_limits import LogKeeping, LogLimits
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.planning.model import Restart

LASTS = "trap 'exit 0' TERM; sleep 100000 & wait"
FLOOD_BYTES = 50_000_000
LINE = "x" * 1999


async def started(engine, script="echo here", name="web"):
    wanted = service("db:1", name, command=("sh", "-c", f"{script}; {LASTS}"), restart=Restart.NO)
    container_id = await engine.create(wanted)
    await engine.start(container_id)
    return container_id


def inspected(docker, container_id):
    (found,) = json.loads(docker.run("inspect", container_id).stdout)
    return found


def log_config(docker, container_id):
    return inspected(docker, container_id)["HostConfig"]["LogConfig"]


async def followed_until(engine, container_id, text):
    count, within_s = 0, 120
    async with asyncio.timeout(within_s):
        async for line in engine.logs(container_id):
            count += 1
            if line.text == text:
                return count
    return 0


async def test_a_container_that_prints_50_megabytes_keeps_no_more_than_its_limit_and_is_still_followed(
    docker, docker_engine
):
    flood = f"echo begin; busybox yes {LINE} | busybox head -c {FLOOD_BYTES}; echo end"
    container_id = await started(docker_engine, flood)
    lines = await followed_until(docker_engine, container_id, "end")
    document = inspected(docker, container_id)
    path = Path(document["LogPath"])
    kept = {one.name: one.stat().st_size for one in path.parent.glob(path.name + "*")}

    assert document["HostConfig"]["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "3"},
    }
    assert lines > FLOOD_BYTES // len(LINE) // 4
    assert len(kept) == 3
    assert FLOOD_BYTES / 4 < sum(kept.values()) < 30_100_000


async def test_a_container_that_was_made_before_stays_as_it_is(docker):
    before = DockerEngine(docker.socket, log_limits=LogLimits(max_size=""))
    old_id = await started(before)
    after = DockerEngine(docker.socket, log_limits=LogLimits("1m", 2))
    new_id = await started(after, name="api")
    containers = {one.id: one for one in (await after.observe()).containers}
    await before.close()
    await after.close()

    assert log_config(docker, old_id) == {"Type": "json-file", "Config": {}}
    assert log_config(docker, new_id)["Config"] == {"max-size": "1m", "max-file": "2"}
    assert containers[old_id].config == containers[new_id].config


@pytest.fixture
def other():
    """A dockerd that may be set up otherwise."""
    server = DockerServer()
    try:
        server.start()
    except DockerMissing as exc:
        server.stop()
        pytest.skip(exc.message)  # the shared one fails where it has to be there
    yield server
    server.stop()


async def set_up_anew(server, engine, **options):
    await asyncio.to_thread(server.kill)
    with pytest.raises(EngineUnavailable):
        await engine.observe()
    await asyncio.to_thread(server.launch, **options)


async def test_the_driver_that_docker_is_set_up_with_is_kept_and_asked_for_again_after_it_was_away(other):
    engine = DockerEngine(other.socket)
    first = await started(engine)
    found = [log_config(other, first)]
    for number, options in enumerate(
        (
            {"log-driver": "local"},
            {"log-driver": "none"},
            {"log-opts": {"max-size": "1m", "mode": "non-blocking"}},
        )
    ):
        await set_up_anew(other, engine, **options)
        found.append(log_config(other, await started(engine, name=f"web{number}")))
    lines = [line.text async for line in engine.logs(first, since=time.time() - 600, follow=False)]
    await engine.close()

    limits = {"max-size": "10m", "max-file": "3"}
    assert found == [
        {"Type": "json-file", "Config": limits},
        {"Type": "local", "Config": limits},
        {"Type": "none", "Config": {}},
        {"Type": "json-file", "Config": {**limits, "mode": "non-blocking"}},
    ]
    assert lines[:1] == ["here"]


async def test_docker_is_asked_once_a_minute_at_most_how_it_keeps_logs(docker, monkeypatch):
    client, asked = DockerClient(docker.socket), []
    call = client.call

    async def counted(method, path, **more):
        asked.append(path)
        return await call(method, path, **more)

    monkeypatch.setattr(client, "call", counted)
    now = [1000.0]
    keeping = LogKeeping(client, LogLimits(), lambda: now[0])
    for seconds in (0, 1, 20, 38, 1, 1):
        now[0] += seconds
        assert (await keeping.config())["LogConfig"]["Type"] == "json-file"
    await client.close()

    assert asked == ["info"] * 2
