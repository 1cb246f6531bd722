"""Thousands of simulated controllers at once, over mutual TLS, from one process to one broker.

The simulator is the shipped command; its devices were enrolled beforehand, so that what is measured is
connecting (TCP, TLS handshake with a certificate each, CONNECT, SUBSCRIBE) and publishing, not the
certificate authority. Nobody subscribes to what they publish.
"""

import datetime as dt
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography import x509
from pydantic import SecretStr

from benchmarks.broker import broker_alone
from benchmarks.certificates import BenchAuthority
from benchmarks.framework import Report, at_least
from benchmarks.usage import Meter, resident_bytes
from iotistic.contracts.mac import Mac
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import MosquittoServer
from iotistic.kernel.process import die_with_parent
from iotistic.simulation.f2.controller import SENSORS
from iotistic.simulation.f2.credentials import CredentialStore
from iotistic.simulation.f2.enrolment import Authority
from iotistic.simulation.f2.fleet import controller_mac

_KIB = 1024


@dataclass(frozen=True)
class Sizes:
    """How many controllers, how often each sensor measures, and for how long all publish."""

    controllers: int
    interval_s: float
    publish_s: float
    connect_within_s: float


QUICK = Sizes(controllers=500, interval_s=5, publish_s=10, connect_within_s=20)
FULL = Sizes(controllers=10_000, interval_s=30, publish_s=60, connect_within_s=240)


def run(quick: bool, report: Report) -> None:
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        Path(folder).chmod(0o711)
        home = Home(Path(folder) / "home")
        home.create()
        authority = BenchAuthority(home.path / "authority")
        enrol(home, authority, sizes.controllers)
        report.progress(f"{sizes.controllers} devices have certificates")
        with broker_alone(home, authority) as broker, _simulator(home, authority, broker, sizes) as simulator:
            _measure(simulator, broker, sizes, report)


def _measure(simulator: "Simulator", broker: MosquittoServer, sizes: Sizes, report: Report) -> None:
    pids = {"simulator": simulator.pid, "broker": broker.process.pid}
    empty = resident_bytes(pids["broker"])
    with Meter(pids) as connecting:
        simulator.wait_for("all ", within_s=sizes.connect_within_s)
    with Meter(pids) as publishing:
        acknowledged_per_s = simulator.publish_for(sizes.publish_s, report)
    memory = {name: resident_bytes(pid) for name, pid in pids.items()}
    told = simulator.finish()
    count = told["connected"]
    wanted = sizes.controllers * SENSORS / sizes.interval_s
    report.add(
        "controllers connected", count, "devices", reference=sizes.controllers, goal=at_least(1, "ratio")
    )
    report.add("connects", told["connects_per_s"] or 0, "1/s")
    report.add(
        "acknowledged while all publish",
        acknowledged_per_s,
        "msg/s",
        reference=wanted,
    )
    grown = {"simulator": told["memory_per_controller_bytes"], "broker": (memory["broker"] - empty) / count}
    for name in pids:
        report.add(f"{name} memory", memory[name] / _KIB**2, "MiB")
        report.add(f"{name} memory per controller", grown[name] / _KIB, "KiB")
        report.add(f"{name} CPU per connect", 1e3 * connecting.used_s[name] / sizes.controllers, "ms")
        report.add(
            f"{name} CPU while publishing", 100 * publishing.used_s[name] / publishing.wall_s, "% of a core"
        )
    report.add("failed attempts to connect", sum(told["connection_failures"].values()), "")
    report.add("not acknowledged at the end", told["unacknowledged"] + told["skipped"], "msg")


class Simulator:
    """The running command; its lines arrive in a thread, since it says something every few seconds only."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self.pid = child.pid
        self._lines: queue.Queue[str] = queue.Queue()
        assert child.stderr is not None
        threading.Thread(target=self._listen, args=(child.stderr,), daemon=True).start()

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.strip())

    def wait_for(self, beginning: str, *, within_s: float) -> None:
        """Wait until it says something that begins so."""
        deadline = time.monotonic() + within_s
        last = ""
        while not last.startswith(beginning):
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise TimeoutError(f"the simulator never said {beginning!r}; last: {last}")
            try:
                last = self._lines.get(timeout=0.1)
            except queue.Empty:
                continue

    def publish_for(self, seconds: float, report: Report) -> float:
        """Let it publish; return how many messages a second were acknowledged meanwhile."""
        first_at, first, _ = self._next_count()
        last_at, last = first_at, first
        while last_at - first_at < seconds:
            last_at, last, line = self._next_count()
            report.progress(line)
        return (last - first) / (last_at - first_at)

    def _next_count(self) -> tuple[float, int, str]:
        """Wait for the next line of counts; return when it came, the messages acknowledged, and the line."""
        while True:
            line = self._lines.get(timeout=30)
            words = line.replace(",", "").split()
            if "acknowledged" in words:
                return time.monotonic(), int(words[words.index("acknowledged") - 1]), line

    def finish(self) -> dict[str, object]:
        """End it and return its summary."""
        self._child.send_signal(signal.SIGTERM)
        assert self._child.stdout is not None
        told = self._child.stdout.read()
        self._child.wait(60)
        return json.loads(told)


@contextmanager
def _simulator(
    home: Home, authority: BenchAuthority, broker: MosquittoServer, sizes: Sizes
) -> Iterator[Simulator]:
    where = {
        "IOTISTIC_HOME": str(home.path),
        "SIMULATE_MQTT_URL": f"mqtts://localhost:{broker.endpoints.device_port}",
        "SIMULATE_PKI_URL": "https://localhost:1",
        "SIMULATE_CA_FILE": str(authority.certificate),
        "ENROLMENT_TOKEN": "not needed",
    }
    words = ["simulate", "f2", "--controllers", str(sizes.controllers), "--interval", str(sizes.interval_s)]
    child = subprocess.Popen(
        [sys.executable, "-m", "iotistic", *words, "--json"],
        env={**os.environ, **where},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - this process has no threads yet that hold locks
    )
    try:
        yield Simulator(child)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def enrol(home: Home, authority: BenchAuthority, count: int) -> None:
    """Put certificates where the simulator keeps what it got from a certificate authority."""
    fingerprint = Authority("", authority.certificate, SecretStr("")).fingerprint
    with CredentialStore(home.simulator, authority=fingerprint) as store:
        issued = {mac: _issue(authority, mac) for mac in map(controller_mac, range(count))}
        store.keep_keys({mac: key for mac, (key, _) in issued.items()})
        store.keep_certificates((mac, pem, _expiry(pem)) for mac, (_, pem) in issued.items())


def _issue(authority: BenchAuthority, mac: Mac) -> tuple[bytes, bytes]:
    """Return the device's key and certificate (PEM)."""
    file = authority.issue(mac)
    certificate, _, key = file.read_bytes().partition(b"-----BEGIN PRIVATE KEY-----")
    file.unlink()
    return b"-----BEGIN PRIVATE KEY-----" + key, certificate


def _expiry(pem: bytes) -> dt.datetime:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc
