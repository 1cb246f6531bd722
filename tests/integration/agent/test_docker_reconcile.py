"""The agent's loop on a real Docker: what is declared comes about, and what people do by hand is put right."""

import asyncio
import json
import time

import pytest
from benchmarks.docker_device import Device, shop

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.reading import seconds_of
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.planning.model import Status


@pytest.fixture
async def device(docker):
    async with Device(docker).running() as running:
        await running.settle(shop())
        yield running


async def test_three_services_with_networks_and_a_volume_are_deployed(device, docker):
    names = docker.run("ps", "--format", "{{.Names}}").stdout.split()
    mounts = docker.run("inspect", "--format", "{{range .Mounts}}{{.Name}}{{end}}", "shop_db_2").stdout
    watching = json.loads(docker.run("inspect", "shop_watch_3").stdout)[0]["NetworkSettings"]["Networks"]

    assert sorted(names) == ["shop_db_2", "shop_watch_3", "shop_web_1"]
    assert mounts.strip() == "7_data"
    assert set(watching) == {"7_back", "7_side"}
    assert all("watch" in place["Aliases"] for place in watching.values())


async def test_a_hand_over_refuses_nobody(device, docker):
    target = shop("web:2", updateStrategy="hand-over", handoverSeconds=2)
    async with device.being_asked("shop_db_2", "web") as found:
        await asyncio.sleep(0.3)
        await device.settle(target)
        await asyncio.sleep(0.3)

    assert found["failures"] == {}
    assert set(found["answers"]) == {"1", "2"}
    assert docker.run("ps", "--format", "{{.Names}} {{.Image}}", "--filter", "name=web").stdout.split() == [
        "shop_web_1",
        "web:2",
    ]


async def test_a_service_keeps_its_container_through_pause_stop_and_start(device):
    first = device.id_of("web")
    await device.settle(shop(state="paused"))
    assert device.container("web").status is Status.PAUSED
    await device.settle(shop(state="stopped"))
    assert device.container("web").status is Status.EXITED
    await device.settle(shop())

    assert device.runs("web")
    assert device.id_of("web") == first


async def test_an_image_that_cannot_be_had_leaves_what_runs(device):
    first = device.id_of("web")
    device.loop.declare(shop("127.0.0.1:1/none:1"))
    await device.until(lambda: any("none:1" in step.why for step in device.loop.standing.steps if step.why))
    await device.until(lambda: device.loop.standing.settled_at is not None)

    assert device.runs("web", "web:1")
    assert device.id_of("web") == first


async def test_a_container_that_was_removed_by_hand_is_made_again(device):
    first = device.id_of("web")
    await device.by_hand("rm", "--force", "shop_web_1")
    await device.until(lambda: device.runs("web") and device.id_of("web") != first)


async def test_a_stop_by_hand_is_answered_within_a_second(device, docker):
    before = device.container("web")
    await device.by_hand("stop", "shop_web_1")
    # What was seen last may still be from before the stop.
    await device.until(lambda: device.runs("web") and device.container("web").started_at > before.started_at)
    state = json.loads(docker.run("inspect", before.id).stdout)[0]["State"]
    ended, started = (seconds_of(state[name]) for name in ("FinishedAt", "StartedAt"))

    assert 0 <= started - ended < 1


async def test_a_second_container_takes_the_name_when_the_first_falls(device, docker):
    device.loop.declare(shop("web:2", updateStrategy="hand-over", handoverSeconds=60))
    await device.until(
        lambda: sum(one.status is Status.RUNNING for one in device.loop.standing.current.containers) == 4
    )
    await device.by_hand("rm", "--force", "shop_web_1")
    await device.until(lambda: device.runs("web", "web:2"))
    places = json.loads(docker.run("inspect", "shop_web_1").stdout)[0]["NetworkSettings"]["Networks"]

    assert "web" in places["7_back"]["Aliases"]


async def test_limits_that_a_person_changed_are_put_right(docker):
    async with Device(docker).running() as device:
        limited = shop(resources={"limits": {"memory": "64Mi"}})
        await device.settle(limited)
        await device.by_hand("update", "--memory", "128m", "--memory-swap", "256m", "shop_web_1")
        began = time.monotonic()
        while (
            "67108864" not in docker.run("inspect", "--format", "{{.HostConfig.Memory}}", "shop_web_1").stdout
        ):
            assert time.monotonic() < began + 10
            await asyncio.sleep(0.05)


async def test_a_docker_that_is_lost_is_unavailable_in_every_call(tmp_path):
    engine = DockerEngine(tmp_path / "not-there.sock")
    for call in (engine.observe(), engine.start("a"), engine.stop("a", 1), engine.fetch("a", print)):
        with pytest.raises(EngineUnavailable):
            await call
    with pytest.raises(EngineUnavailable):
        await anext(engine.events())
    await engine.close()


@pytest.mark.parametrize("dies_after_s", [0.4, 1.5, 2.0])
async def test_an_agent_that_dies_in_a_hand_over_is_followed_by_one_that_ends_it(docker, dies_after_s):
    target = shop("web:2", updateStrategy="hand-over", handoverSeconds=1)
    async with Device(docker).running() as first:
        await first.settle(shop())
        first.loop.declare(target)
        await asyncio.sleep(dies_after_s)
    async with Device(docker).running() as second:
        await second.settle(target)
        assert second.runs("web", "web:2")
    names = docker.run("ps", "--all", "--format", "{{.Names}}").stdout.split()

    assert sorted(names) == ["shop_db_2", "shop_watch_3", "shop_web_1"]
