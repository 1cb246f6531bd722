"""Parsers of what Linux says of itself. A line that looks different than expected is passed over, not believed."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv6Address
from typing import NamedTuple

_STAT = re.compile(rb"(\d+) \((.*)\) (.)", re.DOTALL)
_UTIME, _STIME, _RSS = 11, 12, 21


class CpuTimes(NamedTuple):
    """Clock ticks of all cores since the start: in all, and those in which nothing was to be done."""

    total: int
    idle: int

    def busy_share(self, before: "CpuTimes") -> float | None:
        """Return the percent of the time since `before` in which cores worked; None without time in between."""
        total, idle = self.total - before.total, self.idle - before.idle
        return None if total <= 0 else min(100.0, max(0.0, 100.0 * (total - idle) / total))


class ProcessTimes(NamedTuple):
    """What a process used: clock ticks, and pages of memory."""

    pid: int
    name: str
    ticks: int
    pages: int


def parse_cpu(stat: str) -> CpuTimes | None:
    """Read the first line of /proc/stat."""
    words = stat.partition("\n")[0].split()
    if not words or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:]) or len(words) < 5:  # noqa: PLR2004
        return None
    # Guest time is part of user time already; what follows the eighth figure would be counted twice.
    ticks = [int(word) for word in words[1:9]]
    return CpuTimes(sum(ticks), ticks[3] + (ticks[4] if len(ticks) > 4 else 0))  # noqa: PLR2004


def parse_meminfo(meminfo: str) -> tuple[int, int] | None:
    """Read used and total bytes from /proc/meminfo; used is what is not available to others."""
    found = _fields(meminfo)
    total = found.get("MemTotal")
    if not total:
        return None
    free = found.get("MemFree", 0) + found.get("Buffers", 0) + found.get("Cached", 0)
    return total - min(total, found.get("MemAvailable", free)), total


def _fields(meminfo: str) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def parse_process(stat: bytes) -> ProcessTimes | None:
    """Read /proc/<pid>/stat. A process may call itself anything, brackets and spaces too."""
    found = _STAT.match(stat)
    if found is None:
        return None
    words = stat[found.end() :].split()
    try:
        ticks, pages = int(words[_UTIME - 1]) + int(words[_STIME - 1]), int(words[_RSS - 1])
    except (IndexError, ValueError):
        return None
    return ProcessTimes(int(found[1]), found[2].decode("utf-8", "replace"), ticks, pages)


def parse_default_routes(route: str) -> set[str]:
    """Read the interfaces of default routes from /proc/net/route."""
    rows = [line.split() for line in route.splitlines()[1:]]
    return {row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"}  # noqa: PLR2004


def parse_ip6(if_inet6: str) -> dict[str, str]:
    """Read one IPv6 address for each interface from /proc/net/if_inet6: a global one before a link's."""
    found: dict[str, tuple[int, str]] = {}
    for row in (line.split() for line in if_inet6.splitlines()):
        if len(row) != 6 or len(row[0]) != 32:  # noqa: PLR2004
            continue
        with suppress(ValueError):
            ranked = int(row[3], 16), str(IPv6Address(bytes.fromhex(row[0])))
            found[row[5]] = min(found.get(row[5], ranked), ranked)
    return {name: address for name, (_, address) in found.items()}


def parse_traffic(net_dev: str) -> dict[str, tuple[int, int]]:
    """Read received and sent bytes of each interface from /proc/net/dev."""
    found: dict[str, tuple[int, int]] = {}
    for line in net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) >= 9 and words[0].isdecimal() and words[8].isdecimal():  # noqa: PLR2004
            found[name.strip()] = int(words[0]), int(words[8])
    return found


def hottest(readings: Iterable[str]) -> float | None:
    """Return the highest plausible temperature of thermal zones, which are in thousandths of a degree."""
    degrees = [int(text) / 1000 for text in readings if text.strip().lstrip("-").isdecimal()]
    plausible = [one for one in degrees if -60 < one < 150]  # noqa: PLR2004
    return max(plausible, default=None)
