"""What an agent costs: one process at rest with three services, and a thousand agents in one process.

`reference` is the limit: 60 MB, 0.5 % of a core, 2 s from the start to settled. Resident memory counts pages
of files too (programs and libraries), which other processes share and the kernel may drop; the agent's own
is what it wrote.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from benchmarks.framework import Report, at_most
from iotistic.kernel.process import die_with_parent

_MOST_MB, _MOST_CPU_PERCENT, _MOST_START_S = 60.0, 0.5, 2.0
_CALM_S = 3.0
_WITHIN_S = 300.0
_CHILDREN_TICKS = slice(13, 15)
"""Of the fields of /proc/PID/stat behind the name: user and system time of children that were waited for."""
_TARGET = {
    "apps": {
        "1": {
            "appName": "shop",
            "services": [
                {"serviceId": 1, "serviceName": "web", "config": {"image": "web:1", "networks": ["back"]}},
                {
                    "serviceId": 2,
                    "serviceName": "worker",
                    "config": {"image": "worker:1", "networks": ["back"]},
                },
                {"serviceId": 3, "serviceName": "db", "config": {"image": "db:1", "volumes": ["data:/data"]}},
            ],
        }
    }
}


class Usage(NamedTuple):
    """What a process used until now: seconds on a CPU, and how often it woke up."""

    cpu_s: float
    wake_ups: int


class Memory(NamedTuple):
    """MB of a process: all, and without the pages of files."""

    resident: float
    own: float


def run(quick: bool, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        _measure_one(Path(folder), report, rest_s=10.0 if quick else 60.0, starts=3 if quick else 7)
        _measure_fleet(Path(folder), report, rest_s=8.0 if quick else 60.0, count=100 if quick else 1000)


def _measure_one(folder: Path, report: Report, *, rest_s: float, starts: int) -> None:
    target = folder / "target.json"
    target.write_text(json.dumps(_TARGET))
    # What a service manager starts; `iotistic agent run` becomes the same after it has read its options.
    command = ["agent-process", f"--target={target}", "--engine=simulated", "--data"]
    found = [_start(command, folder / f"one-{number}") for number in range(starts)]
    took, cpu = (statistics.median(each) for each in zip(*found, strict=True))
    limit = at_most(_MOST_START_S)
    report.add("one agent, start to settled", took, "s", reference=_MOST_START_S, goal=limit)
    report.add("one agent, CPU until settled", cpu, "s")
    with _process([*command, folder / "one-0"], until="device.settled") as process:
        _measure_rest("one agent", process.pid, report, rest_s=rest_s, count=1)


def _measure_fleet(folder: Path, report: Report, *, rest_s: float, count: int) -> None:
    command = ["simulate", "agents", "--count", str(count), "--data", folder / "fleet"]
    began = time.monotonic()
    with _process(command, until=f"all {count} settled") as process:
        title = f"{count:,} agents in one process"
        report.add(f"{title}, start until all settled", time.monotonic() - began, "s")
        _measure_rest(f"{title}, each", process.pid, report, rest_s=rest_s, count=count)


def _start(command: list[object], data: Path) -> tuple[float, float]:
    """Return the seconds from a fresh agent's start until it is settled, and those that it had a CPU."""
    began = time.monotonic()
    with _process([*command, data], until="device.settled") as process:
        return time.monotonic() - began, _usage(process.pid).cpu_s + _cpu_of_children_s(process.pid)


def _measure_rest(title: str, pid: int, report: Report, *, rest_s: float, count: int) -> None:
    time.sleep(_CALM_S)
    before, began = _usage(pid), time.monotonic()
    time.sleep(rest_s)
    after, seconds = _usage(pid), time.monotonic() - began
    memory = _memory(pid)
    cpu = 100 * (after.cpu_s - before.cpu_s) / seconds / count
    limit = at_most(_MOST_MB)
    report.add(f"{title}, resident memory", memory.resident / count, "MB", reference=_MOST_MB, goal=limit)
    report.add(f"{title}, own memory", memory.own / count, "MB", reference=_MOST_MB, goal=limit)
    report.add(
        f"{title}, CPU at rest",
        cpu,
        "% of a core",
        reference=_MOST_CPU_PERCENT,
        goal=at_most(_MOST_CPU_PERCENT),
    )
    report.add(f"{title}, wake-ups", (after.wake_ups - before.wake_ups) / seconds / count, "1/s")


@contextlib.contextmanager
def _process(command: list[object], *, until: str) -> Generator[subprocess.Popen[str]]:
    """Run a command of ours; begin when its standard error says what it is to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "iotistic", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOG_FORMAT": "json", "DEVICE_API_PORT": "0"},
        preexec_fn=die_with_parent(),  # noqa: PLW1509  no threads of ours run yet, or they end at once
    )
    giving_up = threading.Timer(_WITHIN_S, process.kill)
    giving_up.start()
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if until in line:
                break
        else:
            raise RuntimeError(f"{command[0]} ended without {until!r}: {''.join(said[-5:])}")
        giving_up.cancel()
        draining = threading.Thread(target=process.stderr.read, daemon=True)
        draining.start()
        yield process
        process.terminate()
        process.wait(60)
        draining.join(5)
    finally:
        giving_up.cancel()
        process.kill()
        process.wait()


def _usage(pid: int) -> Usage:
    cpu_ns = wake_ups = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        wake_ups += sum(
            int(line.split()[1])
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt")
        )
    return Usage(cpu_ns / 1e9, wake_ups)


def _cpu_of_children_s(pid: int) -> float:
    """Return what children used that have ended: the settings are read by one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[_CHILDREN_TICKS])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> Memory:
    sizes = {
        words[0]: int(words[1]) / 1024
        for words in map(str.split, Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    }
    return Memory(sizes["Rss:"], sizes["Anonymous:"])
