"""The broker's standard error as structured events, never at the price of its speed.

A thread of its own reads, so that a busy event loop never lets the pipe fill up and the broker wait. In a
flood it reads so many lines of each window and counts the rest in big chunks, which is faster than any
broker writes.

Invariant: only the thread touches the state below `_run`.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from iotistic.kernel.mosquitto.config import BrokerConfig
from iotistic.kernel.mosquitto.lines import BrokerEvent, LineReader

_log = structlog.get_logger()

REFUSED = Counter("iotistic_broker_refused", "Connections that the broker refused.", ["reason"])
DENIED = Counter(
    "iotistic_broker_acl_denied",
    "Subscriptions, and with debug lines publishes, outside of the rules.",
    ["access"],
)
SKIPPED = Counter("iotistic_broker_log_lines_skipped", "Log lines counted but not read in a flood.")

_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 20
_WINDOW_S = 0.25
_LINES_PER_S = 20_000


class BrokerLog:
    """Reads the pipe `descriptor`, which it owns and closes."""

    def __init__(
        self,
        descriptor: int,
        *,
        config: BrokerConfig,
        on_device: Callable[[str], None],
        lines_per_s: int = _LINES_PER_S,
    ) -> None:
        """`on_device` hears from the thread of each device that has connected, by its client id."""
        self._descriptor = descriptor
        self._on_device = on_device
        self._device_port = config.devices.port
        self._window_lines = max(1, int(lines_per_s * _WINDOW_S))
        self._lines = LineReader(device_port=config.devices.port, patterns=config.devices.patterns)
        self._last: deque[str] = deque(maxlen=20)
        self._thread = threading.Thread(target=self._run, name="broker-log", daemon=True)
        self._rest = b""
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

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
        window_end, room = 0.0, self._window_lines
        while chunk := os.read(self._descriptor, _READ_BYTES):
            if time.monotonic() >= window_end:
                window_end, room = time.monotonic() + _WINDOW_S, self._window_lines
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for line in whole[:room]:
                self._report(line.decode("utf-8", "replace"))
            SKIPPED.inc(max(0, len(whole) - room))
            room = max(0, room - len(whole))

    def _report(self, line: str) -> None:
        self._last.append(line)
        event = self._lines.read(line)
        if event is None:
            return
        _count(event)
        getattr(_log, event.level)(event.name, **event.fields)
        if event.name == "broker.client_connected" and event.fields["port"] == self._device_port:
            self._on_device(str(event.fields["client"]))


def _count(event: BrokerEvent) -> None:
    if event.name == "broker.client_refused":
        REFUSED.labels(event.fields["reason"]).inc()
    elif event.name == "broker.acl_denied":
        DENIED.labels(event.fields["access"]).inc()
