"""An agent whose folder is taken away."""

import asyncio
import shutil
import time

from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.entrypoints.agent.assembly import AgentSettings, open_agent
from iotistic.planning.model import App, Service, ServiceConfig, ServiceKey, Target


async def test_a_disk_that_is_gone_ends_no_agent(tmp_path):
    engine = SimulatedEngine(time.time)
    web = Service(ServiceKey("1", "9"), "web", ServiceConfig("web:1"))
    async with open_agent(AgentSettings(), tmp_path / "agent", engine=engine) as agent:
        shutil.rmtree(tmp_path / "agent")
        agent.reconciler.declare(Target((App("1", "shop", (web,)),)))
        working = asyncio.create_task(agent.reconciler.run())
        async with asyncio.timeout(5):
            while not engine.world.containers and not working.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert engine.world.containers
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
