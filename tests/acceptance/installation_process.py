"""`iotistic up --plain` as a process, for acceptance tests: started, asked, stopped, looked at."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

READY_WITHIN_S = 90
STOP_WITHIN_S = 60


def command_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment that names only `home`; the machine's own settings are left out."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}
    return kept | {"IOTISTIC_HOME": str(home), "PYTHONUNBUFFERED": "1"} | more


def processes_of(home: Path) -> dict[int, str]:
    """Return the command lines of all processes whose environment or arguments name `home`, by id."""
    found: dict[int, str] = {}
    needle = os.fsencode(str(home))
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes()
            if needle in arguments or needle in (entry / "environ").read_bytes():
                found[int(entry.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
    found.pop(os.getpid(), None)
    return found


def eventually(condition, *, within_s: float = 30, what: str = "the condition"):
    """Return what `condition` returns once it is true; fail when it is not within `within_s` seconds."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        if outcome := condition():
            return outcome
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {within_s} s")


@dataclass
class Up:
    """A running `iotistic up --plain`."""

    process: subprocess.Popen[str]
    home: Path
    environment: dict[str, str]
    ready: dict[str, object]
    seconds: float
    further_output: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send `number` and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_WITHIN_S)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run another command against the same home."""
        return run_command(*arguments, environment=self.environment | more)

    def children(self) -> dict[int, str]:
        """Return the processes that belong to it, without itself."""
        return {pid: line for pid, line in processes_of(self.home).items() if pid != self.process.pid}


def run_command(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `iotistic` with `arguments` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "iotistic", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@contextlib.contextmanager
def started(
    home: Path, *options: str, prefix: tuple[str, ...] = (), python: str = sys.executable, **more: str
) -> Iterator[Up]:
    """Start an installation on free ports and wait until it is ready; end it, however the test goes."""
    free = {"API_PORT": "0", "PKI_PORT": "0", "MQTT_PORT": "0", "MQTT_ACCOUNT_PORT": "0"}
    environment = command_environment(home, **(free | more))
    began = time.monotonic()
    process = subprocess.Popen(
        [*prefix, python, "-m", "iotistic", "up", "--plain", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    errors: list[str] = []
    reading = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reading.start()
    watchdog = threading.Timer(READY_WITHIN_S, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    try:
        assert line, f"ended with {process.wait(10)}: {''.join(errors)}"
        up = Up(process, home, environment, json.loads(line), time.monotonic() - began, errors=errors)
        yield up
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        rest = process.stdout.read()
        process.stdout.close()
        reading.join(10)
        process.stderr.close()
    up.further_output += rest.splitlines()
