"""Many real agents in one process, with images that crash.

python -m benchmarks.rollout_fleet URL COUNT FOLDER POLL_S CALL_S LINKED

One in LINKED agents has a connection to the broker as well, and polls as seldom as such devices do. PROVISIONING_KEY is
in the environment.

The collector of garbage stops all agents of a process at once, and the longer the more they are: for 0.2 s with 400, for
a second and more with 2,000. A device stops for its own garbage only, for milliseconds. So the old generation is
collected while nobody is under way, and what lives then is not looked at again. And where the system lets it (root),
this process is served before the others: no device shares a processor with its server.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.rollout_counts import tell
from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.entrypoints.agent.fleet import Doing, Fleet, FleetPlan
from iotistic.entrypoints.agent.fleet_cloud import FleetCloud
from iotistic.entrypoints.agent.fleet_mqtt import MqttPlan
from iotistic.kernel.logging import LogLevel, LogSettings, configure_logging
from iotistic.kernel.process import raise_file_limit
from iotistic.planning.model import Target

BAD_IMAGE = "web:bad"
UNLIKE, JITTER = 2.0, 0.05
"""The slowest device takes four times as long as the fastest; calls on one device differ by 5 % (standard deviation)."""
LATENESS, COUNTS = "lateness", "fleet-counts"
_CRASHES_AFTER_S = 0.2
_LATENESS_EVERY_S = 0.2
_RESTS_SEEN_EVERY_S = 0.5
_AT_REST = frozenset({Doing.SETTLED, Doing.WAITING})
_NICER_BY = -5
_OLD_NEVER_BY_ITSELF = (700, 10, 1_000_000)


async def _run(url: str, count: int, folder: Path, poll_s: float, call_s: float, linked: int) -> None:
    request = ProvisioningRequest(os.environ["PROVISIONING_KEY"], url, device_name="bench").checked()
    cloud = FleetCloud(
        request, poll_every_s=poll_s, report_every_s=max(poll_s, 10.0), mqtt=MqttPlan(every=linked)
    )
    fleet = Fleet(
        FleetPlan(count, Target(), folder, call_s=call_s, unlike=UNLIKE, jitter=JITTER, cloud=cloud)
    )
    for member in fleet.members:
        member.behaviours[BAD_IMAGE] = Behaviour(ends_after_s=_CRASHES_AFTER_S)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gc.freeze()
    others = [
        asyncio.create_task(_crash(fleet)),
        asyncio.create_task(_tell_lateness(folder.parent / LATENESS)),
        asyncio.create_task(_collect_at_rest(fleet)),
        asyncio.create_task(tell(folder.parent / COUNTS, lambda: _counts(fleet))),
    ]
    await fleet.run(stop)
    for task in others:
        task.cancel()


async def _crash(fleet: Fleet) -> None:
    """Let time pass where the bad image runs: an engine without containers learns of their end by looking only."""
    while True:
        await asyncio.sleep(0.5)
        for member in fleet.members:
            if any(one.config.image == BAD_IMAGE for one in member.engine.world.containers.values()):
                await member.engine.observe()


async def _collect_at_rest(fleet: Fleet) -> None:
    """Collect garbage each time that all have come to rest; by itself the collector looks at the young only from then."""
    was_at_rest = False
    while True:
        await asyncio.sleep(_RESTS_SEEN_EVERY_S)
        is_at_rest = all(member.doing in _AT_REST for member in fleet.members)
        if is_at_rest and not was_at_rest:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_OLD_NEVER_BY_ITSELF)
        was_at_rest = is_at_rest


def _counts(fleet: Fleet) -> dict[str, int]:
    lines = [member.line.mqtt for member in fleet.members if member.line is not None and member.line.mqtt]
    return {
        "online": sum(line.link.is_online for line in lines),
        "heard": sum(line.heard for line in lines),
        "taken": sum(line.taken for line in lines),
    }


async def _tell_lateness(path: Path) -> None:
    """Write down by how much this process is late: agents that have to wait for it are no slower on devices."""
    with path.open("a", buffering=1) as out:
        while True:
            due = time.monotonic() + _LATENESS_EVERY_S
            await asyncio.sleep(_LATENESS_EVERY_S)
            out.write(f"{due:.3f} {max(time.monotonic() - due, 0.0):.4f}\n")


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.nice(_NICER_BY)
    configure_logging(LogSettings(log_level=LogLevel.ERROR), process="bench-fleet")
    raise_file_limit()
    _, url, count, folder, poll_s, call_s, linked = sys.argv
    asyncio.run(_run(url, int(count), Path(folder), float(poll_s), float(call_s), int(linked)))
