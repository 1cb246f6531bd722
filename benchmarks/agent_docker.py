"""Seconds until a device with a real Docker is settled, for each thing that happens to it; and what looking costs."""

import asyncio
import time

from benchmarks.docker_device import Device, shop
from benchmarks.docker_server import DockerServer
from benchmarks.framework import Report, at_most
from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.reading import seconds_of
from iotistic.planning.model import Service, ServiceConfig, ServiceKey

_CONTAINERS, _LOOKS = 100, 10
_WARM_S = 1.0


def run(quick: bool, report: Report) -> None:
    docker = DockerServer()
    try:
        docker.start()
        asyncio.run(_settle(docker, report))
        if not quick:
            docker.clear()
            asyncio.run(_look(docker, report))
    finally:
        docker.stop()


async def _settle(docker: DockerServer, report: Report) -> None:
    async with Device(docker).running() as device:
        report.add("deploy three services", await device.settle(shop()), "s")
        report.add("update one image, download-then-kill", await device.settle(shop("web:2")), "s")
        await device.settle(shop())
        await asyncio.sleep(_WARM_S)
        target = shop("web:2", updateStrategy="hand-over", handoverSeconds=2)
        async with device.being_asked("shop_db_2", "web") as found:
            report.add("update one image, hand-over of 2 s", await device.settle(target), "s")
        report.add("requests answered in the hand-over", sum(found["answers"].values()), "requests")
        report.add(
            "requests failed in the hand-over", sum(found["failures"].values()), "requests", goal=at_most(0)
        )
        report.add("longest request in the hand-over", found["longest_s"], "s")
        await device.settle(shop())
        for state in ("paused", "stopped", "running"):
            report.add(f"{state}, same container", await device.settle(shop(state=state)), "s")
        first = device.id_of("web")
        await device.by_hand("stop", "shop_web_1")
        await device.until(lambda: device.runs("web"))
        said = docker.run("inspect", "--format", "{{.State.FinishedAt}} {{.State.StartedAt}}", first).stdout
        ended, started = map(seconds_of, said.split())
        report.add("stop by hand, end to start", started - ended, "s", goal=at_most(1))
        await device.by_hand("rm", "--force", "shop_web_1")
        again = device.until(lambda: device.runs("web") and device.id_of("web") != first)
        report.add("removed by hand, until it runs", await again, "s")
        began = time.monotonic()
        device.loop.declare(shop("127.0.0.1:1/none:1"))
        await device.until(lambda: any("none:1" in step.why for step in device.loop.standing.steps))
        report.add("failing image, until it is said", time.monotonic() - began, "s")
        report.add("failing image, what ran still runs", float(device.runs("web", "web:1")), "of 1")


async def _look(docker: DockerServer, report: Report) -> None:
    engine = DockerEngine(docker.socket)
    report.progress(f"making {_CONTAINERS} containers")
    for number in range(_CONTAINERS):
        service = Service(ServiceKey("1", str(number)), f"one{number}", ServiceConfig("db:1"))
        await engine.create(service)
    report.add("observe 100 containers, first time", await _timed(engine) * 1000, "ms")
    listening = engine.events()
    await anext(listening)
    await _timed(engine)
    took_s = sorted([await _timed(engine) for _ in range(_LOOKS)])
    report.add("observe 100 containers, nothing changed", took_s[_LOOKS // 2] * 1000, "ms")
    await engine.close()


async def _timed(engine: DockerEngine) -> float:
    began = time.perf_counter()
    await engine.observe()
    return time.perf_counter() - began
