"""CPU seconds and memory of processes, read from /proc.

CPU time of a tree is the processes that live now, plus what each has already collected of its dead
children; so a PostgreSQL whose backends come and go is counted whole.
"""

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str]:
    """Return /proc/<pid>/stat after the command name; index 0 is the state."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def process_tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat_fields(int(entry.name))[1]), []).append(int(entry.name))
            except (OSError, IndexError):  # it ended while we looked
                continue
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def cpu_seconds(pid: int) -> float:
    """Return user plus system seconds of the process tree under `pid`, dead children included."""
    total = 0
    for member in process_tree(pid):
        try:
            total += sum(map(int, _stat_fields(member)[11:15]))
        except (OSError, IndexError):
            continue
    return total * _TICK_S


def resident_bytes(pid: int) -> int:
    """Return the proportional memory of the tree (Pss), so that shared pages count once; 0 when it is gone."""
    total = 0
    for member in process_tree(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += (
            next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0) * 1024
        )
    return total


@dataclass
class Meter:
    """CPU seconds used by named process trees between `start` and `stop`."""

    pids: dict[str, int]
    used_s: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0

    def __enter__(self) -> Self:
        self._before = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        self._started = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.wall_s = time.monotonic() - self._started
        self.used_s = {name: cpu_seconds(pid) - self._before[name] for name, pid in self.pids.items()}


class MemorySampler:
    """Samples the memory of one process tree in a thread: `samples` holds (seconds, bytes)."""

    def __init__(self, pid: int, *, every_s: float = 0.5) -> None:
        self.samples: list[tuple[float, int]] = []
        self._pid = pid
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(self._every_s):
            self.samples.append((time.monotonic() - self._started, resident_bytes(self._pid)))

    @property
    def peak_bytes(self) -> int:
        """The largest sample."""
        return max((size for _, size in self.samples), default=0)

    @property
    def growth_ratio(self) -> float:
        """Median of the last fifth over median of the second fifth: 1.0 is flat. Start-up is left out."""
        sizes = [size for _, size in self.samples]
        fifth = len(sizes) // 5
        if not fifth:
            return 1.0
        early, late = sorted(sizes[fifth : 2 * fifth]), sorted(sizes[-fifth:])
        return late[fifth // 2] / max(1, early[fifth // 2])
