"""A publisher that saturates a broker at QoS 1 and costs little CPU itself.

It runs as its own process, so that its CPU is accounted apart. It wakes every two milliseconds, sends what
is due in one write and reads all acknowledgements in one read. With a rate, each message's time is
the instant it was due, so a publisher that falls behind shows up as latency instead of hiding it.
"""

import argparse
import itertools
import json
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.messages import Kind, MessageStream, Stamp, remaining_length
from iotistic.kernel.process import die_with_parent

Times = npt.NDArray[np.int64]

_IDS = 65_535
_TICK_S = 0.002
_RECEIVE_BYTES = 1 << 20
_STALL_S = 30.0


@dataclass(frozen=True)
class LoadPlan:
    """What to publish. `rate` is messages a second over all connections, 0 means flat out."""

    port: int
    host: str = "127.0.0.1"
    count: int = 100_000
    rate: float = 0
    kind: Kind = "json"
    family: str = "sensor"
    series: int = 1000
    devices: int = 100
    connections: int = 1
    window: int = 20_000
    chunk: int = 1000
    protocol: int = 4
    padding: int = 0
    stamp: Stamp = ""
    epoch: int = 0
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    certificate_files: tuple[str, ...] = ()
    """PEM files with certificate and key, one for each connection; their names are the devices'."""
    tick_s: float = _TICK_S


@dataclass(frozen=True)
class LoadSummary:
    """What was published: times in microseconds since the epoch, CPU of the publisher in seconds."""

    sent: int
    acknowledged: int
    first_us: int
    last_us: int
    cpu_s: float

    @property
    def rate(self) -> float:
        """Messages acknowledged a second."""
        return self.acknowledged * 1e6 / max(1, self.last_us - self.first_us)


class LoadStalled(RuntimeError):  # noqa: N818 - named like the product's errors
    """The broker acknowledged nothing for half a minute, or closed the connection."""


class Publisher:
    """One connection with a sliding window of unacknowledged packets."""

    def __init__(self, plan: LoadPlan, index: int) -> None:
        share = plan.devices // plan.connections
        self._stream = MessageStream(
            plan.kind,
            series=plan.series // plan.connections,
            devices=max(1, share),
            first_device=index * share,
            protocol=plan.protocol,
            padding=plan.padding,
            family=plan.family,
            stamp=plan.stamp,
            epoch=plan.epoch,
        )
        self._socket = _connect(plan, index)
        self._window = min(plan.window, _IDS)
        self._chunk = plan.chunk
        self._pending = memoryview(b"")
        self._unparsed = b""
        self.sent = 0
        self.acknowledged = 0

    def room(self, due: int) -> int:
        """Messages to send now: a whole chunk, or what is left; small bites would cost CPU."""
        size = min(due, self._chunk)
        free = self._window - (self.sent - self.acknowledged)
        return 0 if self._pending or free < size else size

    def send(self, times_us: Times) -> None:
        """Assemble one message for each time; `flush` writes them."""
        ids = (self.sent + np.arange(len(times_us))) % _IDS + 1
        self._pending = self._stream.chunk(ids, times_us)
        self.sent += len(times_us)

    def flush(self) -> None:
        """Write as much as the socket takes."""
        while self._pending:
            try:
                self._pending = self._pending[self._socket.send(self._pending) :]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return

    def collect(self) -> None:
        """Count the acknowledgements that have arrived."""
        while True:
            try:
                received = self._socket.recv(_RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not received:
                raise LoadStalled("the broker closed the connection")
            count, self._unparsed = count_acknowledgements(self._unparsed + received)
            self.acknowledged += count

    def close(self) -> None:
        """Say goodbye and close."""
        self._socket.setblocking(True)
        try:
            self._socket.sendall(b"\xe0\x00")
        finally:
            self._socket.close()


def count_acknowledgements(data: bytes) -> tuple[int, bytes]:
    """Return the number of PUBACKs in `data` and the incomplete rest. Refusals raise LoadStalled."""
    whole = len(data) // 4 * 4
    heads = np.frombuffer(data, ">u2", whole // 2)[::2]
    if (heads == 0x4002).all():
        return whole // 4, data[whole:]
    at = count = 0
    while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
        refused = data[at + 1] > 2 and data[at + 4] >= 0x80
        if data[at] != 0x40 or refused:
            raise LoadStalled(f"instead of a PUBACK came {data[at : at + 8].hex(' ')}")
        count, at = count + 1, at + 2 + data[at + 1]
    return count, data[at:]


def _connect(plan: LoadPlan, index: int) -> socket.socket:
    connection: socket.socket = socket.create_connection((plan.host, plan.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if plan.ca_file:
        context = ssl.create_default_context(cafile=plan.ca_file)
        context.check_hostname = False  # the CA is the installation's own
        if plan.certificate_files:
            context.load_cert_chain(plan.certificate_files[index])
        connection = context.wrap_socket(connection)
    connection.sendall(_connect_packet(plan, index))
    answer = connection.recv(256)
    if len(answer) < 4 or answer[0] != 0x20 or answer[3] != 0:
        raise LoadStalled(f"the broker refused the connection: {answer.hex(' ')}")
    connection.setblocking(False)
    return connection


def _connect_packet(plan: LoadPlan, index: int) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack(">H", len(value.encode())) + value.encode()

    flags, credentials = 0x02, b""
    if plan.username:
        password = Path(plan.password_file).read_text(encoding="utf-8").strip()
        flags, credentials = 0xC2, text(plan.username) + text(password)
    properties = b"\0" if plan.protocol == 5 else b""
    body = text("MQTT") + bytes([plan.protocol, flags]) + struct.pack(">H", 600) + properties
    body += text(f"bench-load-{index}") + credentials
    return b"\x10" + remaining_length(len(body)) + body


def publish(plan: LoadPlan) -> LoadSummary:
    """Publish the plan and wait for every acknowledgement."""
    publishers = [Publisher(plan, index) for index in range(plan.connections)]
    cpu = time.process_time()
    clock = _Clock(plan)
    turns = itertools.cycle(publishers)
    sent = acknowledged = 0
    progress_at = time.monotonic()
    while acknowledged < plan.count:
        due = clock.due()
        for publisher, _ in zip(turns, publishers, strict=False):
            if size := publisher.room(due - sent):
                publisher.send(clock.times(sent, size))
                sent += size
        for publisher in publishers:
            publisher.flush()
            publisher.collect()
        before, acknowledged = acknowledged, sum(publisher.acknowledged for publisher in publishers)
        progress_at = time.monotonic() if acknowledged > before else progress_at
        if time.monotonic() - progress_at > _STALL_S:
            raise LoadStalled(
                f"{acknowledged} of {sent} messages were acknowledged, then nothing for {_STALL_S:.0f} s"
            )
        time.sleep(plan.tick_s)
    finished_us = time.time_ns() // 1000
    for publisher in publishers:
        publisher.close()
    return LoadSummary(sent, acknowledged, clock.started_us, finished_us, time.process_time() - cpu)


class _Clock:
    """Says how many messages are due, and the time that each one bears."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._last_us = 0
        self.started_us = time.time_ns() // 1000

    def due(self) -> int:
        """Messages due by now, since the start."""
        if not self._plan.rate:
            return self._plan.count
        elapsed_us = time.time_ns() // 1000 - self.started_us
        return min(self._plan.count, 1 + int(elapsed_us * self._plan.rate / 1e6))

    def times(self, sent: int, size: int) -> Times:
        """With a rate, the instants at which the next messages were due; otherwise now, each its own."""
        if self._plan.rate:
            return self.started_us + ((sent + np.arange(size)) * (1e6 / self._plan.rate)).astype(np.int64)
        first_us = max(time.time_ns() // 1000, self._last_us + 1)
        self._last_us = first_us + size - 1
        return first_us + np.arange(size)


class LoadProcess:
    """A publisher running as a child process."""

    def __init__(self, plan: LoadPlan) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(plan))],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - the child only sets signals before it starts anew
        )
        self.pid = self._child.pid

    def wait(self, timeout_s: float | None = None) -> LoadSummary:
        """Return its summary; raise LoadStalled when it failed (its reason is on standard error)."""
        output, _ = self._child.communicate(timeout=timeout_s)
        if self._child.returncode:
            raise LoadStalled(f"the publisher ended with status {self._child.returncode}")
        return LoadSummary(**json.loads(output))

    def stop(self) -> None:
        """End it if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()


@contextmanager
def load(plan: LoadPlan) -> Iterator[LoadProcess]:
    """Run a publisher process for the length of the block at most."""
    process = LoadProcess(plan)
    try:
        yield process
    finally:
        process.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", help="a load plan as JSON")
    given = json.loads(parser.parse_args(arguments).plan)
    given["certificate_files"] = tuple(given.get("certificate_files", ()))
    summary = publish(replace(LoadPlan(port=given["port"]), **given))
    print(json.dumps(asdict(summary)))


if __name__ == "__main__":
    main()
