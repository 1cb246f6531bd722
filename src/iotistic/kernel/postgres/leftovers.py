"""What a killed server leaves behind, and how the next start gets past it.

After `kill -9` of the postmaster its backends notice within moments, but one in the middle of a query
may hold the shared memory for longer; after `kill -9` of our parent process the whole server is still
shutting down, told so by the kernel. Whoever calls this holds the supervisor's lock, so there is no
other live supervisor, and backends without a postmaster may be ended. A whole server that does not go
by itself was started by hand: that one is left alone and reported.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from iotistic.kernel.errors import Conflict

_POLL_S = 0.05
_QUIT_AFTER_S = 0.5
_KILL_AFTER_S = 8.0


class PostgresOccupied(Conflict):
    """Another PostgreSQL server works in this data folder."""

    code = "postgres.occupied"


async def clear_leftovers(data: Path, say: Callable[[str], None], *, within_s: float = 60) -> None:
    """Return when no PostgreSQL process works in `data` and none is claimed to; raise PostgresOccupied."""
    started = time.monotonic()
    told = False
    while running := postgres_processes(data):
        waited_s = time.monotonic() - started
        if not told:
            say(f"waiting for {len(running)} PostgreSQL processes of an earlier run")
            told = True
        if waited_s > within_s:
            listed = ", ".join(map(str, running))
            raise PostgresOccupied(
                f"PostgreSQL processes {listed} work in {data}", hint=f"stop them: kill -INT {running[0]}"
            )
        if recorded_pid(data) not in running and waited_s > _QUIT_AFTER_S:
            _end(running, signal.SIGKILL if waited_s > _KILL_AFTER_S else signal.SIGQUIT)
        await asyncio.sleep(_POLL_S)
    _drop_stale_pid_file(data)


def postgres_processes(data: Path) -> list[int]:
    """Return the ids of the postgres processes that work in `data`, lowest first."""
    return sorted(int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _works_in(entry, data))


def recorded_pid(data: Path) -> int | None:
    """Return the process id in `postmaster.pid`, or None."""
    lines = _pid_file_lines(data)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def is_ready(data: Path, pid: int) -> bool:
    """Say whether the postmaster `pid` of `data` accepts connections."""
    lines = _pid_file_lines(data)
    return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]


def _pid_file_lines(data: Path) -> list[str]:
    """Return the lines of `postmaster.pid`: process id, folder, start time, port, and the state as eighth."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _works_in(entry: Path, data: Path) -> bool:
    try:
        return (entry / "cwd").readlink() == data and (entry / "comm").read_text().strip() == "postgres"
    except OSError:  # it ended, or is none of ours
        return False


def _drop_stale_pid_file(data: Path) -> None:
    # PostgreSQL itself gets past a pid that no process has; it refuses when the pid was given to a
    # stranger since, as happens after a reboot.
    pid = recorded_pid(data)
    if pid is not None and Path(f"/proc/{pid}").exists() and pid not in postgres_processes(data):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _end(pids: list[int], how: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue
