"""The whole agent, as its command puts it together, on a real Docker: locks that apps see, probes in containers."""

import asyncio
import contextlib
import time

import pytest
from benchmarks.docker_device import shop

from iotistic.entrypoints.agent.assembly import AgentSettings, open_agent
from iotistic.entrypoints.agent.engine_choice import EngineKind
from iotistic.planning.model import Health, Status, Target

WITHIN_S = 20.0
LOCK = "/tmp/iotistic/updates.lock"


@pytest.fixture
async def agent(docker, tmp_path):
    settings = AgentSettings(agent_engine=EngineKind.DOCKER, docker_socket=docker.socket)
    async with open_agent(settings, tmp_path / "agent") as opened:
        task = asyncio.create_task(opened.reconciler.run())
        yield opened
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(met):
    deadline = time.monotonic() + WITHIN_S
    while not (found := met()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return found


def web(agent, image=""):
    return [
        one
        for one in agent.reconciler.standing.current.containers
        if one.name == "web" and one.status is Status.RUNNING and image in ("", one.config.image)
    ]


async def settle(agent, target):
    agent.reconciler.declare(target)
    await asyncio.sleep(0.1)
    await until(lambda: agent.reconciler.standing.settled_at is not None)


async def test_an_app_that_holds_its_lock_is_updated_when_it_lets_go(agent, docker):
    await settle(agent, shop())
    await asyncio.to_thread(docker.run, "exec", "shop_web_1", "busybox", "touch", LOCK)
    agent.reconciler.declare(shop("web:2"))
    await until(lambda: any("holds its lock" in step.why for step in agent.reconciler.standing.steps))
    assert web(agent, "web:1")
    await asyncio.to_thread(docker.run, "exec", "shop_web_1", "busybox", "rm", LOCK)
    agent.reconciler.look()

    await until(lambda: web(agent, "web:2"))


async def test_a_probe_in_the_container_says_when_it_is_ready(agent, docker):
    probe = {"type": "exec", "command": ["busybox", "test", "-e", "/ready"], "periodSeconds": 0.2}
    await settle(agent, shop(readinessProbe=probe))
    await until(lambda: web(agent)[0].health in (Health.STARTING, Health.NOT_READY))
    await asyncio.to_thread(docker.run, "exec", "shop_web_1", "busybox", "touch", "/ready")

    await until(lambda: web(agent)[0].health is Health.READY)


async def test_a_container_whose_liveness_fails_is_started_again(agent, docker):
    probe = {
        "type": "exec",
        "command": ["busybox", "test", "!", "-e", "/stuck"],
        "periodSeconds": 0.2,
        "failureThreshold": 2,
    }
    await settle(agent, shop(livenessProbe=probe))
    first = (await until(lambda: web(agent)))[0]
    await asyncio.to_thread(docker.run, "exec", "shop_web_1", "busybox", "touch", "/stuck")

    await until(lambda: agent.record.crashes)
    await until(lambda: not web(agent))
    # What is left to be done is to start it again, after a pause, as it is not the first time for all we know.
    step = await until(
        lambda: [step for step in agent.reconciler.standing.steps if "waits before" in step.why]
    )
    assert step[0].until is not None
    assert first.id in {one.id for one in agent.reconciler.standing.current.containers}


async def test_agents_of_different_scopes_on_one_docker_leave_each_other_alone(agent, docker, tmp_path):
    await settle(agent, shop())
    settings = AgentSettings(
        agent_engine=EngineKind.DOCKER, docker_socket=docker.socket, engine_scope="second"
    )
    async with open_agent(settings, tmp_path / "second") as second:
        task = asyncio.create_task(second.reconciler.run())
        await settle(second, Target())
        seen = second.reconciler.standing.current
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert (seen.containers, seen.networks, dict(seen.volumes)) == ((), frozenset(), {})
    assert web(agent)
