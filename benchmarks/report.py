"""Reports of devices (`PATCH /device/state`) as the agent sends them, stored: the API's one process, 1,000 devices.

Each is the agent's regular report, made by its own code: the machine's figures and its ten busiest processes, packed
as the agent packs it. An answer means that it is stored; the rows are counted, and compared, afterwards. Beside them
reports that change what events follow, which go one by one.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.control_site import BenchDevice, ControlSite, control_site, cpu_seconds
from benchmarks.framework import Report, at_least, at_most
from benchmarks.http_load import HttpLoad, HttpSummary, LoadStalled, asked
from iotistic.agent.link.transport import _packed as packed  # pyright: ignore[reportPrivateUsage]  the real thing
from iotistic.agent.metrics.model import Machine, Memory, Process, Storage
from iotistic.agent.reporting.machine import describe_machine

_DEVICES = 1000
_AT_ONCE = _DEVICES
_GIB = 1024**3
_SECONDS = 300.0


def run(quick: bool, report: Report) -> None:
    with control_site(devices=_DEVICES) as site:
        ReportBench(site, report, rounds=10 if quick else 40).measure()


class ReportBench:
    """One API, and devices that tell of themselves; `rounds` reports of each."""

    def __init__(self, site: ControlSite, report: Report, *, rounds: int) -> None:
        self._site, self._report, self._rounds = site, report, rounds
        self._chance = random.Random(11)
        self._last_uptime: dict[str, int] = {}

    def measure(self) -> None:
        """Tell everything once, then figures, then changes; look what is stored."""
        first = self._changing(1)
        self._require(asked(self._plan(first)))
        self._require(asked(self._plan(self._figures(1))))
        self._usual()
        self._unusual()
        self._check()

    def _usual(self) -> None:
        requests = self._figures(self._rounds)
        self._report.progress(f"{len(requests):,} reports of {len(requests[0])} bytes, with their headers")
        before = [cpu_seconds(pid) for pid in (self._site.api_pid, self._site.postgres_pid)]
        found = asked(self._plan(requests))
        self._require(found)
        self._report.add("reports stored", found.per_second, "/s", goal=at_least(2000))
        self._report.add("their p50", found.p50_ms, "ms")
        self._report.add("their p99", found.p99_ms, "ms")
        after = [cpu_seconds(pid) for pid in (self._site.api_pid, self._site.postgres_pid)]
        for name, begun, ended in zip(("the API", "PostgreSQL"), before, after, strict=True):
            self._report.add(f"CPU of {name} a report", 1e3 * (ended - begun) / found.answered, "ms")
        self._report.add("CPU of the asker a report", 1e3 * found.cpu_s / found.answered, "ms")

    def _unusual(self) -> None:
        found = asked(self._plan(self._changing(2)))
        self._require(found)
        self._report.add("reports that change the state stored", found.per_second, "/s")

    def _check(self) -> None:
        told = (2 + self._rounds + 2) * _DEVICES
        rows = self._site.site.scalar("SELECT count(*) FROM device_metrics")
        missing = (1 + self._rounds) * _DEVICES - int(str(rows))
        self._report.add(f"samples missing or double, of {told:,} reports", abs(missing), "", goal=at_most(0))
        text = self._site.site.scalar(
            "SELECT jsonb_object_agg(device_uuid, fields -> 'uptime')::text FROM device_states"
        )
        stored: dict[str, Any] = json.loads(str(text))
        wrong = sum(stored.get(uuid) != uptime for uuid, uptime in self._last_uptime.items())
        self._report.add("devices whose newest figures are not stored", wrong, "", goal=at_most(0))
        events = self._site.site.scalar(
            "SELECT count(*) FROM events WHERE event_type = 'current_state.updated'"
        )
        self._report.add(
            "changes without an event", abs(3 * _DEVICES - int(str(events))), "", goal=at_most(0)
        )

    def _figures(self, rounds: int) -> list[bytes]:
        return [
            self._told(device, {"is_online": True, **describe_machine(self._machine(device))})
            for _ in range(rounds)
            for device in self._site.devices
        ]

    def _changing(self, rounds: int) -> list[bytes]:
        requests: list[bytes] = []
        for _ in range(rounds):
            status = self._chance.getrandbits(40)
            app = {"appId": 1, "appName": "shop", "services": [{"serviceName": "web", "status": str(status)}]}
            requests += [
                self._told(device, {"is_online": True, "version": 3, "apps": {"1": app}})
                for device in self._site.devices
            ]
        return requests

    def _told(self, device: BenchDevice, fields: dict[str, Any]) -> bytes:
        body, headers = packed({device.uuid: fields})
        return device.report(body or b"", headers)

    def _machine(self, device: BenchDevice) -> Machine:
        chance = self._chance
        uptime = self._last_uptime[device.uuid] = self._last_uptime.get(device.uuid, 1000) + 300
        processes = tuple(
            Process(chance.randrange(30_000), name, chance.random() * 50, chance.random() * 10)
            for name in _names()
        )
        return Machine(
            cpu_usage=chance.random() * 100,
            temperature=40 + chance.random() * 30,
            memory=Memory(chance.randrange(4 * _GIB), 4 * _GIB),
            storage=Storage(chance.randrange(32 * _GIB), 32 * _GIB),
            uptime_s=uptime,
            interfaces=(),
            top_processes=processes,
            agent_memory=60 * 1024 * 1024,
            agent_cpu=chance.random(),
        )

    def _plan(self, requests: Sequence[bytes]) -> HttpLoad:
        return HttpLoad(
            port=self._site.port,
            requests=requests,
            connections=_AT_ONCE,
            seconds=_SECONDS,
            count=len(requests),
        )

    def _require(self, found: HttpSummary) -> None:
        if not found.only(200):
            raise LoadStalled(f"not every report was stored: {found.statuses}")


def _names() -> Iterator[str]:
    yield from ("dockerd", "containerd", "python3", "node", "postgres", "nginx", "mosquitto", "systemd")
    yield from ("sshd", "kworker/0:1")
