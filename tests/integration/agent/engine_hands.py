"""What a person can do to an engine behind the agent's back, the same for each engine."""

import asyncio
import time
from contextlib import aclosing

from benchmarks.docker_server import REGISTRY

from iotistic.agent.engines.port import LogLine
from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.planning.model import Named, Service, ServiceConfig, ServiceKey

MISSING = f"{REGISTRY}/team/none:1"
THERE = f"{REGISTRY}/team/app:1"
_LOCAL = {"web:1", "web:2", "db:1", "crash:1", "broken:1", "talk:1"}
SAID = (
    LogLine(0.0, "héllo"),
    LogLine(0.0, "one 1"),
    LogLine(0.3, "oh no", is_stderr=True),
    LogLine(0.6, "two"),
)
"""What a container of talk:1 prints, and how long after its start."""


def service(image="web:1", name="web", **config):
    return Service(ServiceKey("7", name), name, ServiceConfig(image, **config), app_name="shop")


class Hands:
    engine: object

    async def seen(self, container_id):
        """Return a container as the engine shows it, None when it does not."""
        current = await self.engine.observe()
        return next((one for one in current.containers if one.id == container_id), None)

    async def running(self, wanted=None):
        """Return the id of a container that runs."""
        container_id = await self.engine.create(wanted or service())
        await self.engine.start(container_id)
        return container_id

    async def printed(self, container_id, count, *, since=0.0):
        """Return the first lines of those that are followed."""
        lines = []
        async with asyncio.timeout(20), aclosing(self.engine.logs(container_id, since=since)) as following:
            while len(lines) < count:
                lines.append(await anext(following))
        return lines

    async def heard(self, act, meant):
        """Return the first event that is meant, of those that follow an act."""
        async with asyncio.timeout(20):
            listening = asyncio.ensure_future(anext(self._meant(meant)))
            await asyncio.sleep(0.2)  # an event stream has no way to say that it has begun
            await act
            return await listening

    async def _meant(self, meant):
        async for event in self.engine.events():
            if meant(event):
                yield event

    async def until_status(self, container_id, status):
        async with asyncio.timeout(20):
            while (one := await self.seen(container_id)) is None or one.status is not status:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return one


class SimulatedHands(Hands):
    def __init__(self):
        behaviours = {
            MISSING: Behaviour(missing=True),
            "crash:1": Behaviour(ends_after_s=0.1, exit_code=3),
            "broken:1": Behaviour(refuses_to_start=True),
            "talk:1": Behaviour(says=SAID),
        }
        self.engine = SimulatedEngine(time.time, Manner(says_every_s=0), behaviours)
        self.engine.world.images |= _LOCAL

    async def stop(self, container_id):
        self.engine.world.stop(container_id)

    async def remove(self, container_id):
        self.engine.world.stop(container_id)
        self.engine.world.remove(container_id)

    async def make_foreign(self):
        """Simulated devices belong to their agent alone."""


class DockerHands(Hands):
    def __init__(self, engine, docker):
        self.engine, self.docker = engine, docker

    async def stop(self, container_id):
        await asyncio.to_thread(self.docker.run, "stop", container_id)

    async def remove(self, container_id):
        await asyncio.to_thread(self.docker.run, "rm", "--force", container_id)

    async def make_foreign(self):
        self.docker.run("network", "create", "7_theirs")
        self.docker.run("volume", "create", "7_theirs")
        self.docker.run("run", "--detach", "--name", "theirs", "db:1")


BACK = Named("7", "back")
DATA = Named("7", "data")
