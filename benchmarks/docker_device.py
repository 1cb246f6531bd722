"""An agent's loop on a Docker of its own, with a stopwatch and a client that keeps asking."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from benchmarks.docker_server import DockerServer
from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import Container, Status, Target
from iotistic.planning.target import read_target

_WITHIN_S = 40.0
_POLL = Path(__file__).with_name("service_poll.py")


class Unlocked:
    """No app holds a lock."""

    async def take(self, app_id: str) -> None:
        """Every lock is free."""

    async def release(self, app_id: str) -> None:
        """Nothing was taken."""


def shop(web: str = "web:1", state: str = "running", **config: object) -> Target:
    """Return a target of three services in two networks with a volume."""
    services = [
        _service(1, "web", state=state, image=web, networks=["back"], **config),
        _service(2, "db", image="db:1", networks=["back"], volumes=["data:/data"]),
        _service(3, "watch", image="db:1", networks=["back", "side"]),
    ]
    reading = read_target({"apps": {"7": {"appId": 7, "appName": "shop", "services": services}}})
    if reading.faults:
        raise ValueError(str(reading.faults))
    return reading.target


def _service(number: int, name: str, state: str = "running", **config: object) -> dict[str, object]:
    return {"serviceId": number, "serviceName": name, "state": state, "config": config}


class Device:
    """A loop that keeps one Docker equal to what it is told."""

    def __init__(self, docker: DockerServer) -> None:
        self.docker = docker
        self.engine = DockerEngine(docker.socket)
        self.loop = Reconciler(
            self.engine, Executor(self.engine, Unlocked()), Record(), Surroundings(time.time)
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Device"]:
        """Let it work."""
        task = asyncio.create_task(self.loop.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.engine.close()

    async def settle(self, target: Target) -> float:
        """Declare a target; return the seconds until everything is as it says."""
        began = time.monotonic()
        self.loop.standing.settled_at = None
        self.loop.declare(target)
        await self.until(lambda: self.loop.standing.settled_at is not None and not self.loop.standing.steps)
        return time.monotonic() - began

    async def until(self, met: Callable[[], object]) -> float:
        """Wait, and return the seconds that it took. Raises TimeoutError."""
        began = time.monotonic()
        async with asyncio.timeout(_WITHIN_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    def container(self, name: str) -> Container | None:
        """Return a service's container as it was seen last."""
        seen = self.loop.standing.current.containers
        return next((one for one in seen if one.name == name), None)

    def id_of(self, name: str) -> str:
        """Return the id of a service's container; it has to be there."""
        one = self.container(name)
        return one.id if one else ""

    def runs(self, name: str, image: str = "") -> bool:
        """Say whether a service was seen running, of that image if one is given."""
        one = self.container(name)
        return one is not None and one.status is Status.RUNNING and image in ("", one.config.image)

    async def by_hand(self, *words: str) -> float:
        """Do what a person does with the docker command; return when the engine was told to, on time.time's clock."""
        began = time.time()
        await asyncio.to_thread(self.docker.run, *words)
        return began

    @contextlib.asynccontextmanager
    async def being_asked(self, container: str, name: str, port: int = 80) -> AsyncGenerator[dict[str, Any]]:
        """Ask a service 50 times a second from within a container; the findings are there at the end."""
        asking = await asyncio.create_subprocess_exec(
            *self.docker.inside(container), sys.executable, str(_POLL), name, str(port),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert asking.stdout is not None
        found: dict[str, Any] = {}
        await asking.stdout.readline()
        try:
            yield found
        finally:
            said, _ = await asking.communicate(b"")
            found.update(json.loads(said))
