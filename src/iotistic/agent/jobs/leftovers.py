"""Processes that outlived the agent, known again and ended.

A step's first process is known by its number, when it was started, and the boot that this happened in, so that
another one that got the same number is left alone; with it goes its session. Whatever left the session, or was
started before its number could be kept, is known by the mark in the environment that it began with.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from iotistic.agent.jobs.commands import MARK

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
_LOOK_S = 0.05
_LOOKS = 2


class ProcessMark(NamedTuple):
    """One process, and no other that ever has its number."""

    pid: int
    started: int
    """Clock ticks since the boot."""
    boot: str

    def as_dict(self) -> dict[str, Any]:
        """Return what can be kept."""
        return self._asdict()


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    started: int


def mark_of(pid: int) -> ProcessMark | None:
    """Return the mark of a process; None when it is gone."""
    found = _stat(pid)
    return None if found is None else ProcessMark(pid, found.started, _boot())


def read_mark(kept: Mapping[str, Any] | None) -> ProcessMark | None:
    """Return a mark that was kept."""
    return None if kept is None else ProcessMark(int(kept["pid"]), int(kept["started"]), str(kept["boot"]))


def is_alive(mark: ProcessMark) -> bool:
    """Say whether a process still runs."""
    found = _stat(mark.pid)
    return found is not None and found.state not in "ZX" and (found.started, _boot()) == mark[1:]


def find_leftovers(mark: ProcessMark | None, token: str) -> list[ProcessMark]:
    """Return the processes of a step: the session of `mark`, and all that carry `token`."""
    session = mark.pid if mark is not None and is_alive(mark) else None
    ours, carried = _lineage(), f"{MARK}={token}".encode()
    found: list[ProcessMark] = []
    for pid in _pids():
        one = _stat(pid)
        if one is None or one.state in "ZX" or pid in ours:
            continue
        if (session is not None and one.session == session) or (token and _carries(pid, carried)):
            found.append(ProcessMark(pid, one.started, _boot()))
    return found


def end_leftovers(mark: ProcessMark | None, token: str, *, grace_s: float = 5.0) -> int:
    """End the processes of a step, kindly first; return how many there were. Blocks for up to `grace_s` seconds."""
    ended = find_leftovers(mark, token)
    _signal(ended, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while any(map(is_alive, ended)) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    _signal([*filter(is_alive, ended), *find_leftovers(mark, token)], signal.SIGKILL)
    # What forks, or is just becoming another program, is not seen by each look.
    for _ in range(_LOOKS):
        time.sleep(_LOOK_S)
        _signal(find_leftovers(mark, token), signal.SIGKILL)
    return len(ended)


def _signal(processes: list[ProcessMark], number: signal.Signals) -> None:
    for one in processes:
        if is_alive(one):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one.pid, number)


def _lineage() -> set[int]:
    """Return us and our ancestors: an agent that a job started carries that job's mark."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        one = _stat(pid)
        pid = 0 if one is None else one.parent
    return found


def _pids() -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isascii() and entry.name.isdecimal():
            yield int(entry.name)


def _carries(pid: int, carried: bytes) -> bool:
    try:
        return carried in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _stat(pid: int) -> _Stat | None:
    try:
        # A process may call itself anything, brackets and blanks too: what follows the last bracket is ours.
        words = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return _Stat(words[0].decode(), int(words[1]), int(words[3]), int(words[19]))
    except (OSError, IndexError, ValueError):
        return None


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
