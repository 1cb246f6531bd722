"""Many real agents in one process, with images that crash.

python -m benchmarks.rollout_fleet URL COUNT FOLDER POLL_S CALL_S      PROVISIONING_KEY in the environment
"""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.entrypoints.agent.fleet import Fleet, FleetPlan
from iotistic.entrypoints.agent.fleet_cloud import FleetCloud
from iotistic.kernel.logging import LogLevel, LogSettings, configure_logging
from iotistic.kernel.process import raise_file_limit
from iotistic.planning.model import Target

BAD_IMAGE = "web:bad"
_CRASHES_AFTER_S = 0.2


async def _run(url: str, count: int, folder: Path, poll_s: float, call_s: float) -> None:
    request = ProvisioningRequest(os.environ["PROVISIONING_KEY"], url, device_name="bench").checked()
    cloud = FleetCloud(request, poll_every_s=poll_s, report_every_s=max(poll_s, 10.0))
    fleet = Fleet(FleetPlan(count, Target(), folder, call_s=call_s, cloud=cloud))
    for member in fleet.members:
        member.behaviours[BAD_IMAGE] = Behaviour(ends_after_s=_CRASHES_AFTER_S)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gc.freeze()
    crashing = asyncio.create_task(_crash(fleet))
    await fleet.run(stop)
    crashing.cancel()


async def _crash(fleet: Fleet) -> None:
    """Let time pass where the bad image runs: an engine without containers learns of their end by looking only."""
    while True:
        await asyncio.sleep(0.5)
        for member in fleet.members:
            if any(one.config.image == BAD_IMAGE for one in member.engine.world.containers.values()):
                await member.engine.observe()


if __name__ == "__main__":
    configure_logging(LogSettings(log_level=LogLevel.ERROR), process="bench-fleet")
    raise_file_limit()
    _, url, count, folder, poll_s, call_s = sys.argv
    asyncio.run(_run(url, int(count), Path(folder), float(poll_s), float(call_s)))
