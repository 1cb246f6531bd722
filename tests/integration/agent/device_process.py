"""An agent with its device API as a process of its own; its simulated containers outlive it, in a file.

    python device_process.py FOLDER [SECONDS_OF_EACH_CALL] [MODE]

Says where it listens in one line of JSON on standard output, and ends when it is told to restart.
"""

import asyncio
import itertools
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path

from device_rig import DeviceRig

from iotistic.agent.engines.simulated.engine import Manner, SimulatedEngine
from iotistic.agent.local_api.access import Mode, Policy
from iotistic.kernel.logging import LogSettings, configure_logging

_KEPT = ("images", "networks", "volumes", "containers")
_CALLS = ("fetch", "create", "start", "stop", "remove", "pause", "unpause", "update")
_CALLS += ("create_network", "remove_network", "create_volume", "remove_volume", "remove_image")


class KeptEngine(SimulatedEngine):
    """Containers that a kill of the agent does not touch."""

    def __init__(self, path, call_s):
        super().__init__(time.time, Manner(call_s=call_s))
        self._path = path
        if path.exists():
            vars(self.world).update(pickle.loads(path.read_bytes()))
            used = [int(name.removeprefix("sim"), 16) for name in self.world.containers]
            self.world._ids = itertools.count(max(used, default=0) + 1)

    def keep(self):
        kept = {name: getattr(self.world, name) for name in _KEPT}
        beside = self._path.with_suffix(".new")
        beside.write_bytes(pickle.dumps(kept))
        beside.replace(self._path)


def _kept(name):
    async def call(self, *arguments):
        found = await getattr(super(KeptEngine, self), name)(*arguments)
        self.keep()
        return found

    return call


for _name in _CALLS:
    setattr(KeptEngine, _name, _kept(_name))


async def main(folder, call_s, mode):
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    rig = DeviceRig(
        folder, KeptEngine(folder / "world", call_s), Policy(mode, names=frozenset()), end=ended.set
    )
    async with rig.running():
        for number in range(3):
            rig.say(f"web line {number}")
            rig.say(f"db line {number}", "db", "2")
        sys.stdout.write(json.dumps({"url": rig.url, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        talking = asyncio.create_task(_talk(rig))
        await ended.wait()
        talking.cancel()


async def _talk(rig):
    for number in itertools.count():
        await asyncio.sleep(0.2)
        rig.say(f"tick {number}")


if __name__ == "__main__":
    configure_logging(LogSettings(), process="agent", stream=sys.stderr)
    _folder = Path(sys.argv[1])
    _folder.mkdir(parents=True, exist_ok=True)
    _call_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    asyncio.run(main(_folder, _call_s, Mode(sys.argv[3]) if len(sys.argv) > 3 else Mode.LOCALHOST_ONLY))
