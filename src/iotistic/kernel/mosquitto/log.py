"""The broker's standard error as structured events, never at the price of its speed.

Refused publishes appear only among the debug lines, of which every message costs four, so they are on
while the broker is calm and off while it is busy:

    verbose --lines/s over the limit--> quiet --a calm while (little CPU used)--> verbose

A thread of its own reads, so that a busy event loop never lets the pipe fill up and the broker wait. In a
flood it counts line breaks in big reads until the broker has taken the new configuration.

Invariants: only the thread touches the state below `_run`; `set_verbose` is called from the thread.
"""

import contextlib
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import Counter

from iotistic.kernel.mosquitto.config import BrokerConfig
from iotistic.kernel.mosquitto.lines import BrokerEvent, LineReader

_log = structlog.get_logger()

REFUSED = Counter("iotistic_broker_refused", "Connections that the broker refused.", ["reason"])
DENIED = Counter(
    "iotistic_broker_acl_denied", "Publishes and subscriptions outside of the rules.", ["access"]
)
SKIPPED = Counter("iotistic_broker_log_lines_skipped", "Log lines counted but not read in a flood.")

_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 20
_WINDOW_S = 0.25
_RELOADED = b"Reloading config."


class BrokerLog:
    """Reads the pipe `descriptor`, which it owns and closes."""

    def __init__(
        self,
        descriptor: int,
        *,
        pid: int,
        config: BrokerConfig,
        set_verbose: Callable[[bool], None],
        flood_lines_per_s: int = 4000,
        calm_s: float = 60,
        calm_cpu_share: float = 0.05,
    ) -> None:
        self._descriptor = descriptor
        self._pid = pid
        self._set_verbose = set_verbose
        self._window_lines = max(1, int(flood_lines_per_s * _WINDOW_S))
        self._calm_s = calm_s
        self._calm_cpu_share = calm_cpu_share
        self._lines = LineReader(device_port=config.devices.port, patterns=config.devices.patterns)
        self._last: deque[str] = deque(maxlen=20)
        self._thread = threading.Thread(target=self._run, name="broker-log", daemon=True)
        self._verbose = True
        self._awaiting_reload = False
        self._rest = b""
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def verbose(self) -> bool:
        """Whether the broker's debug lines are on."""
        return self._verbose

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def join(self, within_s: float = 5) -> None:
        """Wait until the last line is read; the broker has ended before."""
        self._thread.join(within_s)

    def last_lines(self) -> list[str]:
        """Return the broker's last lines, for the error of a failed start."""
        return list(self._last)

    def _run(self) -> None:
        try:
            self._read_all()
        finally:
            os.close(self._descriptor)

    def _read_all(self) -> None:
        window_end, lines = time.monotonic() + _WINDOW_S, 0
        calm = _CalmWatch(self._pid, self._calm_s, self._calm_cpu_share)
        while True:
            readable, _, _ = select.select([self._descriptor], [], [], 1.0)
            if readable:
                chunk = os.read(self._descriptor, _READ_BYTES)
                if not chunk:
                    return
                lines += self._take(chunk)
            if time.monotonic() >= window_end:
                window_end, lines = time.monotonic() + _WINDOW_S, 0
            if self._verbose and lines > self._window_lines:
                self._switch(verbose=False)
                calm.restart()
            elif not self._verbose and calm.reached():
                self._switch(verbose=True)

    def _take(self, chunk: bytes) -> int:
        """Read the lines of a chunk, or count them while a flood goes on; return their number."""
        count = chunk.count(b"\n")
        if self._awaiting_reload:
            if _RELOADED in chunk:
                self._awaiting_reload = False
            SKIPPED.inc(count)
            self._rest = chunk.rpartition(b"\n")[2]
            return 0
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._report(line.decode("utf-8", "replace"))
        return count

    def _report(self, line: str) -> None:
        self._last.append(line)
        event = self._lines.read(line)
        if event is None:
            return
        _count(event)
        getattr(_log, event.level)(event.name, **event.fields)

    def _switch(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._awaiting_reload = not verbose
        self._set_verbose(verbose)
        _log.info("broker.log_mode_changed", verbose=verbose)


def _count(event: BrokerEvent) -> None:
    if event.name == "broker.client_refused":
        REFUSED.labels(event.fields["reason"]).inc()
    elif event.name == "broker.acl_denied":
        DENIED.labels(event.fields["access"]).inc()


class _CalmWatch:
    """Says when a process has used little CPU for a while."""

    def __init__(self, pid: int, calm_s: float, cpu_share: float) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._calm_s = calm_s
        self._cpu_share = cpu_share
        self.restart()

    def restart(self) -> None:
        self._since, self._used_s = time.monotonic(), self._cpu_s()

    def reached(self) -> bool:
        """Return True once per calm while; a busy one starts the next."""
        elapsed = time.monotonic() - self._since
        if elapsed < self._calm_s:
            return False
        used = self._cpu_s() - self._used_s
        self.restart()
        return used < elapsed * self._cpu_share

    def _cpu_s(self) -> float:
        try:
            after_name = self._stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
