"""The devices of the storm, in a process of their own: `python -m benchmarks.storm_fleet PLAN`.

It obeys one word a line on standard input and answers each with one JSON object:

    connect     every device connects and has measured once
    cut         the network goes away
    hour        every device measures through the hour before now, at its interval
    restore     the network is back; answers at once
    told        what was counted so far
    stop        what is under way is finished; the last answer

Devices' clocks stand an hour behind until the hour is over, so that nothing is measured twice or in the
future. The connections and the messages are those of `iotistic simulate f2`.
"""

import asyncio
import datetime as dt
import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr

from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.kernel.process import die_with_parent, raise_file_limit
from iotistic.simulation.f2.catch_up import AT_ONCE
from iotistic.simulation.f2.controller import PayloadFormat
from iotistic.simulation.f2.credentials import CredentialStore
from iotistic.simulation.f2.enrolment import Authority
from iotistic.simulation.f2.fleet import Fleet, FleetPlan, controller_mac
from iotistic.simulation.f2.kept import Kept

HOUR_S = 3600
_OLD_NEVER = (700, 10, 1_000_000)


@dataclass(frozen=True)
class StormPlan:
    """Where the devices are kept and connect, how many they are and how often each sensor measures."""

    port: int
    ca_file: str
    credentials: str
    controllers: int
    interval_s: float
    outbox: int
    granted: bool

    @property
    def fleet(self) -> FleetPlan:
        """What the simulator calls it."""
        return FleetPlan(
            broker_host="localhost",
            broker_port=self.port,
            interval_s=self.interval_s,
            payload_format=PayloadFormat.JSON,
            connects_per_s=1e6,
            connects_at_once=256,
            outbox=self.outbox,
            ask_above=AT_ONCE if self.granted else None,
        )


class Counted(Kept):
    """Counts what climate sensors measured: each such message is one row."""

    __slots__ = ("climate",)

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch, limit=100)
        self.climate = 0

    def add(self, topic: bytes, payload: bytes) -> int:
        """Keep a new message."""
        self.climate += b"/sensor-mode/" in topic
        return super().add(topic, payload)


class Clock:
    """The devices' time: an hour behind, until `late_s` is counted down."""

    def __init__(self) -> None:
        self.late_s = float(HOUR_S)

    def now_us(self) -> int:
        """Return what a device takes for the time."""
        return time.time_ns() // 1000 - round(self.late_s * 1e6)


class StormFleet(Fleet):
    """Notes when each device came back."""

    def __init__(self, plan: StormPlan, clock: Clock) -> None:
        authority = Authority("", Path(plan.ca_file), SecretStr(""))
        macs = [controller_mac(number) for number in range(plan.controllers)]
        with CredentialStore(Path(plan.credentials), authority=authority.fingerprint) as store:
            known = store.load(macs, now=dt.datetime.now(dt.UTC))
        identities = {mac: known[mac].identity for mac in macs}
        super().__init__(plan.fleet, identities, TlsIdentities(authority.ca_certificate), now_us=clock.now_us)
        self.back_us: dict[str, int] = {}
        for member in self._members.values():
            member.kept = Counted(self._epoch)

    def online(self, client: LeanClient) -> None:
        """Note the time."""
        self.back_us[client.client_id] = time.time_ns() // 1000
        super().online(client)

    async def connect(self) -> dict[str, object]:
        """Wait until all are connected, and let each measure, so that all series are known."""
        while self.tally.connected < len(self._members):  # noqa: ASYNC110 - a tally sets no event
            await asyncio.sleep(0.05)
        await self.measure_all()
        return self.told()

    async def hour(self, clock: Clock) -> dict[str, object]:
        """Measure through the hour that the clock is behind."""
        while clock.late_s > 0:
            clock.late_s = max(0.0, clock.late_s - self._plan.interval_s)
            await self.measure_all()
        return self.told()

    def told(self) -> dict[str, object]:
        """Return all counts."""
        kept = [member.kept for member in self._members.values()]
        return {
            **self.tally.summary(),
            "numbered": sum(one.next_number - 1 for one in kept),
            "climate": sum(one.climate for one in kept if isinstance(one, Counted)),
            "epoch": self._epoch,
        }


class FleetProcess:
    """The process with the devices, from outside."""

    def __init__(self, plan: StormPlan) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.storm_fleet", json.dumps(asdict(plan))],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - the child only sets signals before it starts anew
        )
        self.pid = self._child.pid

    def tell(self, word: str) -> dict[str, Any]:
        """Say a word and return the answer."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{word}\n")
        self._child.stdin.flush()
        answer: dict[str, Any] = json.loads(self._child.stdout.readline() or "null")
        if answer is None:
            raise RuntimeError(f"the devices ended with status {self._child.wait()}")
        return answer

    def finish(self) -> dict[str, Any]:
        """Let it finish what is under way and return its last answer."""
        told = self.tell("stop")
        self._child.wait(60)
        return told

    def stop(self) -> None:
        """End it if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()


async def obey(plan: StormPlan) -> None:
    """Do what standard input says."""
    clock = Clock()
    fleet = StormFleet(plan, clock)
    gc.freeze()
    stop = asyncio.Event()
    running = asyncio.create_task(fleet.run(stop))
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := (await words.readline()).decode().strip():
        if word == "connect":
            answer = await fleet.connect()
        elif word == "cut":
            fleet.cut()
            answer = fleet.told()
        elif word == "hour":
            answer = await fleet.hour(clock)
            _let_garbage_be()
        elif word == "restore":
            fleet.restore()
            answer = {"at_us": time.time_ns() // 1000}
        elif word == "told":
            answer = fleet.told()
        else:
            break
        print(json.dumps(answer), flush=True)
    stop.set()
    await running
    print(json.dumps(fleet.told() | {"back_us": fleet.back_us}), flush=True)


def _let_garbage_be() -> None:
    """Keep the collector from what the hour left, and from stopping all devices at once to go through the old.

    With half a million kept messages that takes a tenth of a second; a device stops for its own garbage only.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_OLD_NEVER)


def main() -> None:
    configure_logging(LogSettings(log_level="error"), process="storm-fleet")
    plan = StormPlan(**json.loads(sys.argv[1]))
    raise_file_limit()
    uvloop.run(obey(plan))


if __name__ == "__main__":
    main()
