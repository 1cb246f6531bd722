"""Looks at the machine. One look reads a few small files; all of the processes only when asked for."""

import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from iotistic.agent.metrics import proc
from iotistic.agent.metrics.model import Glance, Interface, Machine, Memory, Process, Storage

_TOP = 10
_SIOCGIFADDR = 0x8915
_ETHERNET, _LOOPBACK, _WIRELESS_DIR = "1", "772", "wireless"


class Observer:
    """Remembers the look before, since shares of CPU need two. `root` is where /proc and /sys are."""

    def __init__(
        self, data: Path, *, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._data, self._root, self._clock = data, root, clock
        self._cpu: proc.CpuTimes | None = None
        self._ticks: dict[int, int] = {}
        self._looked_at: float | None = None
        self._agent: tuple[float, float] | None = None
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")

    def look(self, *, processes: bool = True) -> Machine:
        """Return how the machine is; what cannot be read is None, empty or 0."""
        glance = self.glance()
        return Machine(
            *glance,
            uptime_s=self._uptime_s(),
            interfaces=self._interfaces(),
            top_processes=self._top_processes(glance.memory.total) if processes else (),
            agent_memory=self._agent_memory(),
            agent_cpu=self._agent_cpu(),
        )

    def glance(self) -> Glance:
        """Return the few figures that change all the time."""
        return Glance(
            cpu_usage=self._cpu_usage(),
            temperature=proc.hottest(self._texts("sys/class/thermal", "thermal_zone*/temp")),
            memory=Memory(*(proc.parse_meminfo(self._text("proc/meminfo")) or (0, 0))),
            storage=self._storage(),
        )

    def _cpu_usage(self) -> float | None:
        before, self._cpu = self._cpu, proc.parse_cpu(self._text("proc/stat"))
        return None if before is None or self._cpu is None else self._cpu.busy_share(before)

    def _storage(self) -> Storage:
        try:
            found = os.statvfs(self._data)
        except OSError:
            return Storage(0, 0)
        total = found.f_blocks * found.f_frsize
        return Storage(total - found.f_bfree * found.f_frsize, total)

    def _uptime_s(self) -> float:
        words = self._text("proc/uptime").split()
        with suppress(ValueError, IndexError):
            return float(words[0])
        return 0.0

    def _top_processes(self, memory_total: int) -> tuple[Process, ...]:
        before, now = self._ticks, self._clock()
        seconds = now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at, self._ticks = now, {}
        found: list[Process] = []
        for path in self._root.glob("proc/[0-9]*/stat"):
            with suppress(OSError):
                one = proc.parse_process(path.read_bytes())
                if one is not None:
                    self._ticks[one.pid] = one.ticks
                    used_s = (one.ticks - before.get(one.pid, one.ticks)) / self._ticks_per_s
                    cpu = 100.0 * used_s / seconds if seconds > 0 else 0.0
                    mem = 100.0 * one.pages * self._page / memory_total if memory_total else 0.0
                    found.append(Process(one.pid, one.name, round(max(0.0, cpu), 1), round(mem, 1)))
        found.sort(key=lambda one: (-one.cpu, -one.mem, one.pid))
        return tuple(found[:_TOP])

    def _interfaces(self) -> tuple[Interface, ...]:
        default = proc.parse_default_routes(self._text("proc/net/route"))
        ip6 = proc.parse_ip6(self._text("proc/net/if_inet6"))
        traffic = proc.parse_traffic(self._text("proc/net/dev"))
        found: list[Interface] = []
        for folder in sorted(self._root.glob("sys/class/net/*")):
            name = folder.name
            kind = self._text(f"sys/class/net/{name}/type").strip()
            if kind in ("", _LOOPBACK):
                continue
            received, sent = traffic.get(name, (0, 0))
            found.append(
                Interface(
                    name=name,
                    ip4=_ip4(name),
                    ip6=ip6.get(name),
                    mac=self._text(f"sys/class/net/{name}/address").strip() or None,
                    type=_type_of(folder, kind),
                    default=name in default,
                    virtual=not (folder / "device").exists(),
                    operstate=self._text(f"sys/class/net/{name}/operstate").strip() or "unknown",
                    received_bytes=received,
                    sent_bytes=sent,
                )
            )
        return tuple(found)

    def _agent_memory(self) -> int:
        words = self._text("proc/self/statm").split()
        return int(words[1]) * self._page if len(words) > 1 and words[1].isdecimal() else 0

    def _agent_cpu(self) -> float | None:
        now, used = self._clock(), time.process_time()
        before, self._agent = self._agent, (now, used)
        if before is None or now <= before[0]:
            return None
        return 100.0 * (used - before[1]) / (now - before[0])

    def _text(self, path: str) -> str:
        with suppress(OSError):
            return (self._root / path).read_text("utf-8", "replace")
        return ""

    def _texts(self, folder: str, pattern: str) -> list[str]:
        found: list[str] = []
        for path in sorted((self._root / folder).glob(pattern)):
            with suppress(OSError):  # some zones answer with an error while their sensor sleeps
                found.append(path.read_text("utf-8", "replace"))
        return found


def _type_of(folder: Path, kind: str) -> str:
    if (folder / _WIRELESS_DIR).exists() or (folder / "phy80211").exists():
        return "wifi"
    return "wired" if kind == _ETHERNET else "other"


def _ip4(name: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, suppress(OSError):
        answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    return None
