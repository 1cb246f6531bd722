"""HTTP requests over kept connections from a process of its own, cheaper than any server that answers them.

    python -m benchmarks.http_load PLAN.pickle        prints one JSON object

The bytes of every request are made beforehand; a request costs one send, one receive and a look at the status.
Without a rate each connection asks as soon as it was answered. With a rate requests are sent when they are due, and
their times count from then on: one that waits because the server is behind is not left out.
"""

import contextlib
import json
import os
import pickle
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.framework import percentile
from iotistic.kernel.process import die_with_parent

_STALL_S = 20.0


class LoadStalled(RuntimeError):  # noqa: N818 - named like the product's errors
    """The server stopped answering, or the process failed."""


@dataclass(frozen=True, kw_only=True)
class HttpLoad:
    """What to ask: `requests` in turn, over as many connections, for some seconds or so many requests."""

    port: int
    requests: Sequence[bytes]
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests a second; 0: as many as are answered."""
    count: int = 0
    """Requests at most; 0: as many as the seconds allow."""
    starts_at: float = 0.0
    """When to begin, connected, by `time.perf_counter`, which is one clock for all processes; 0: at once."""
    niceness: int = 0
    """How far the process steps back, so that what it costs is not felt by what it is measured beside; less than 0:
    how far it goes ahead, where it may, so that it does not measure how long it waits for a processor itself."""


@dataclass(frozen=True, kw_only=True)
class HttpSummary:
    """What came of it; times in milliseconds. `late_ms` says how late this process itself was (p99)."""

    answered: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_ms: float
    statuses: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def only(self, status: int) -> bool:
        """Say whether every answer had this status."""
        return set(self.statuses) == {str(status)}


class _Asker:
    """Connections, and what is under way on them."""

    def __init__(self, plan: HttpLoad) -> None:
        self._plan = plan
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._began: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        for _ in range(plan.connections):
            one = socket.create_connection(("127.0.0.1", plan.port), timeout=10)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
            self._sockets[one.fileno()] = one
            self._poll.register(one.fileno(), select.EPOLLIN)
        self.idle = list(self._sockets)
        self.sent = 0
        self.times: list[float] = []
        self.statuses: Counter[bytes] = Counter()

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._began)

    def ask(self, due: float) -> None:
        """Send the next request on a free connection; its time counts from `due`."""
        number = self.idle.pop()
        request = self._plan.requests[self.sent % len(self._plan.requests)]
        self._began[number] = due
        self.sent += 1
        if self._sockets[number].send(request) != len(request):
            raise LoadStalled("a request did not go out at once")

    def collect(self, timeout_s: float) -> None:
        """Take the answers that have come."""
        for number, _ in self._poll.poll(timeout_s):
            got = self._sockets[number].recv(65536)
            if not got and number in self._began:
                raise LoadStalled("the server closed a connection without an answer")
            if not got:  # the server kept it for as long as it keeps those that are not used
                self._poll.unregister(number)
                self.idle.remove(number)
                continue
            whole = self._parts.pop(number, b"") + got
            if not _is_whole(whole):
                self._parts[number] = whole
                continue
            self.times.append(time.perf_counter() - self._began.pop(number))
            self.statuses[whole[9:12]] += 1
            self.idle.append(number)

    def close(self) -> None:
        """Close everything."""
        for one in self._sockets.values():
            one.close()


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0 or answer[9:12] == b"304":
        return end >= 0
    start = answer.lower().find(b"content-length:", 0, end)
    length = int(answer[start + 15 : answer.index(b"\r", start)]) if start >= 0 else 0
    return len(answer) >= end + 4 + length


def run_load(plan: HttpLoad) -> HttpSummary:
    """Ask in this process. Raises LoadStalled."""
    with contextlib.suppress(PermissionError):
        os.nice(plan.niceness)
    asker = _Asker(plan)
    time.sleep(max(0.0, plan.starts_at - time.perf_counter()))
    cpu, began = time.process_time(), time.perf_counter()
    late = _paced(asker, plan, began) if plan.rate else _unpaced(asker, plan, began)
    ended = time.perf_counter()
    asker.close()
    milliseconds = [1e3 * one for one in asker.times]
    return HttpSummary(
        answered=len(asker.times),
        seconds=ended - began,
        cpu_s=time.process_time() - cpu,
        p50_ms=percentile(milliseconds, 50),
        p99_ms=percentile(milliseconds, 99),
        max_ms=max(milliseconds, default=0.0),
        late_ms=1e3 * percentile(late, 99) if late else 0.0,
        statuses={status.decode(): count for status, count in asker.statuses.items()},
    )


def _unpaced(asker: _Asker, plan: HttpLoad, began: float) -> list[float]:
    most = plan.count or sys.maxsize
    while (now := time.perf_counter()) < began + plan.seconds and asker.sent < most:
        while asker.idle and asker.sent < most:
            asker.ask(time.perf_counter())
        asker.collect(0.1)
    _drain(asker, now)
    return []


def _paced(asker: _Asker, plan: HttpLoad, began: float) -> list[float]:
    most = plan.count or int(plan.rate * plan.seconds)
    late: list[float] = []
    while asker.sent < most:
        now = time.perf_counter()
        due = began + asker.sent / plan.rate
        while due <= now and asker.idle and asker.sent < most:
            late.append(now - due)
            asker.ask(due)
            due = began + asker.sent / plan.rate
        asker.collect(max(0.0, min(0.01, due - time.perf_counter())))
    _drain(asker, time.perf_counter())
    return late


def _drain(asker: _Asker, since: float) -> None:
    while asker.waiting:
        asker.collect(0.1)
        if time.perf_counter() - since > _STALL_S:
            raise LoadStalled(f"{asker.waiting} requests were not answered")


@contextmanager
def http_load(plan: HttpLoad) -> Iterator["HttpLoadProcess"]:
    """Run a load in a process of its own, for the length of the block at most."""
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        Path(file.name).write_bytes(pickle.dumps(plan))
        process = HttpLoadProcess(file.name)
        try:
            yield process
        finally:
            process.stop()


class HttpLoadProcess:
    """A load that runs."""

    def __init__(self, path: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http_load", path],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - the child only sets signals before it starts anew
        )
        self.pid = self._child.pid

    def wait(self, timeout_s: float | None = None) -> HttpSummary:
        """Return what came of it. Raises LoadStalled."""
        output, _ = self._child.communicate(timeout=timeout_s)
        if self._child.returncode:
            raise LoadStalled(f"the load ended with status {self._child.returncode}")
        return HttpSummary(**json.loads(output))

    def stop(self) -> None:
        """End it if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()


def asked(plan: HttpLoad) -> HttpSummary:
    """Run a load in a process of its own and wait for it."""
    with http_load(plan) as process:
        return process.wait(plan.seconds + 60)


if __name__ == "__main__":
    print(json.dumps(asdict(run_load(pickle.loads(Path(sys.argv[1]).read_bytes())))))  # noqa: S301  our own file
