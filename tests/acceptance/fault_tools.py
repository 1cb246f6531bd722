"""An installation to break, and a publisher that remembers exactly what the broker acknowledged."""

import contextlib
import csv
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2

from iotistic.contracts.delivery import stamp_data
from iotistic.kernel.mqtt.packets import (
    PacketReader,
    ProtocolError,
    Puback,
    encode_connect,
    encode_publish,
)

READY_WITHIN_S = 60
WHOLE_WITHIN_S = 45
FREE_PORTS = {"API_PORT": "0", "PKI_PORT": "0", "MQTT_PORT": "0", "MQTT_ACCOUNT_PORT": "0"}
PATTERNS = {
    "ingest": ("iotistic", "ingest", "LANE=live"),
    "backlog": ("iotistic", "ingest", "LANE=backlog"),
    "broker": ("mosquitto",),
    "database": ("postgres",),
    "api": ("iotistic", "api"),
    "control": ("iotistic", "control"),
    "maintenance": ("iotistic", "maintenance"),
    "pki": ("iotistic", "pki"),
}


class Site:
    """`iotistic up --plain` in a home of its own."""

    def __init__(self, folder, *options, **environment):
        self.folder = Path(folder)
        self.log = self.folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "iotistic", "up", "--plain", *options],
                env={**os.environ, **FREE_PORTS, "IOTISTIC_HOME": str(self.folder / "home"), **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self.process.stdout.readline()
        if not line:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(self.log.read_text()[-3000:])
        self.ready = json.loads(line)
        # What follows on standard output is log lines; a full pipe would stop the process.
        threading.Thread(target=self._drain, daemon=True).start()
        self.api = httpx2.Client(
            base_url=self.ready["api"],
            headers={"Authorization": f"Bearer {self.ready['token']}"},
            timeout=30,
        )
        # Kept: making a client for each question costs more than all else that a test does.
        self._health = httpx2.Client(verify=ssl.create_default_context(cafile=self.ready["ca"]), timeout=2)

    def _drain(self):
        for _ in self.process.stdout:
            pass

    @property
    def home(self):
        return Path(self.ready["home"])

    def children(self):
        """Return {name: [pids]} of the processes that `up` started itself."""
        found = {name: [] for name in PATTERNS}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if parent != self.process.pid:
                    continue
                if "ingest" in words:
                    words += _lane(entry)
                for name, pattern in PATTERNS.items():
                    if all(any(word.endswith(part) for word in words) for part in pattern):
                        found[name].append(int(entry.name))
        return found

    def kill(self, name):
        """Kill one child without warning; return its pid."""
        pid = self.children()[name][0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def until_whole(self, killed_name, killed_pid):
        """Wait until another process stands where the killed one was, and all say that they are ready."""

        def missing():
            present = self.children()
            absent = [name for name, pids in present.items() if not pids or killed_pid in pids]
            urls = json.loads((self.home / "run" / "endpoints.json").read_text())["health"]
            return absent or [name for name, url in urls.items() if not self.is_ready(url)]

        until(
            lambda: not missing(),
            WHOLE_WITHIN_S,
            lambda: f"after {killed_name} was killed: {missing()}\n{self.log.read_text()[-4000:]}",
        )

    def is_ready(self, url):
        """Tell whether what answers there says that it is ready."""
        try:
            return self._health.get(url).status_code == 200
        except httpx2.HTTPError:
            return False

    def metrics(self, health_url):
        """Return what a process says of itself."""
        return self._health.get(health_url.replace("/health/ready", "/metrics")).text

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.api.close()
        self._health.close()
        return self.process.returncode


def _lane(entry):
    """Return the lane that a process was given, as it stands in its environment."""
    return [
        word for word in (entry / "environ").read_bytes().decode().split("\0") if word.startswith("LANE=")
    ]


def until(seen, within_s, explain=lambda: ""):
    deadline = time.monotonic() + within_s
    while not (value := seen()):
        assert time.monotonic() < deadline, f"did not happen within {within_s} s {explain()}"
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def site(*options, folder=None, **environment):
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="iotistic-acceptance-"))
            Path(folder).chmod(0o711)
        running = Site(folder, *options, **environment)
        stack.callback(running.stop)
        yield running


@contextlib.contextmanager
def small_disk(*, mib):
    """A file system of its own that can be filled without hurting the machine."""
    with tempfile.TemporaryDirectory(prefix="iotistic-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=711", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(ballast):
    """Write to `ballast` until its file system has no byte left."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


def healthy(site, name):
    """Tell whether a process says that it is ready."""
    urls = json.loads((site.home / "run" / "endpoints.json").read_text())["health"]
    return site.is_ready(urls[name])


def metric(site, name, process="ingest-0"):
    """Return the sum of a metric's samples at one process."""
    urls = json.loads((site.home / "run" / "endpoints.json").read_text())["health"]
    text = site.metrics(urls[process])
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def settled(figure, for_s=2.0):
    """Return a figure that has not changed for a while, None when it has."""
    before = figure()
    time.sleep(for_s)
    return before if figure() == before else None


@contextlib.contextmanager
def service_connection(site, client_id):
    """A logged-in socket at the service listener; speak packets on it."""
    port = json.loads((site.home / "up.json").read_text())["ports"]["mqtt_service"]
    password = (site.home / "secrets" / "mqtt-service-password").read_text().strip()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(
            encode_connect(
                client_id=client_id, username="iotistic", password=password, keepalive_s=60, clean_start=True
            )
        )
        assert sock.recv(4096)[:1] == b"\x20"
        yield sock


class Recorder(threading.Thread):
    """Publishes numbered and stamped readings at QoS 1 through the service listener, for as long as it is let.

    What is not acknowledged when a connection breaks is sent again on the next one, as a device does.
    `acknowledged` holds the numbers that the broker took responsibility for.
    """

    def __init__(self, site, *, name, rate, window=500):
        super().__init__(daemon=True)
        memory = json.loads((site.home / "up.json").read_text())["ports"]
        self._address = ("127.0.0.1", memory["mqtt_service"])
        self._password = (site.home / "secrets" / "mqtt-service-password").read_text().strip()
        self.device, self._rate, self._window = name, rate, window
        self.base_us = time.time_ns() // 1000
        self.sent = 0
        self.acknowledged = set()
        self.reconnects = -1
        self._pending = {}
        self._ending = threading.Event()
        self._next_id = 0

    def finish(self, within_s=60):
        """Stop making new readings, wait until all are acknowledged, and return how many that are."""
        self._ending.set()
        self.join(within_s)
        assert not self.is_alive(), "the publisher still waits for acknowledgements"
        return len(self.acknowledged)

    def run(self):
        while not (self._ending.is_set() and not self._pending):
            with contextlib.suppress(OSError, ProtocolError):
                self._session()
            time.sleep(0.05)

    def _session(self):
        with socket.create_connection(self._address, timeout=5) as sock:
            sock.sendall(
                encode_connect(
                    client_id=f"recorder-{self.device}",
                    username="iotistic",
                    password=self._password,
                    keepalive_s=30,
                    clean_start=True,
                )
            )
            reader = PacketReader()
            self._hear(sock, reader)
            self.reconnects += 1
            unsettled = sorted(self._pending.values())
            self._pending = {}
            for number in unsettled:
                self._send(sock, number)
            sock.settimeout(0.02)
            started, already = time.monotonic(), self.sent
            while not (self._ending.is_set() and not self._pending):
                due = already + int((time.monotonic() - started) * self._rate)
                while not self._ending.is_set() and self.sent < due and len(self._pending) < self._window:
                    self.sent += 1
                    self._send(sock, self.sent)
                with contextlib.suppress(TimeoutError):
                    self._hear(sock, reader)

    def _send(self, sock, number):
        self._next_id = self._next_id % 60_000 + 1
        self._pending[self._next_id] = number
        payload = json.dumps({"timestamp": self.base_us + number, "value": number}).encode()
        topic = f"sensor/{self.device}/counter".encode()
        stamp = stamp_data(self.base_us // 1000, number)
        sock.sendall(encode_publish(topic, payload, packet_id=self._next_id, qos=1, correlation=stamp))

    def _hear(self, sock, reader):
        octets = sock.recv(65536)
        if not octets:
            raise ConnectionResetError
        for packet in reader.feed(octets):
            if isinstance(packet, Puback) and packet.packet_id in self._pending:
                number = self._pending.pop(packet.packet_id)
                if packet.reason == 0:
                    self.acknowledged.add(number)


def ledger(site):
    """Return the ledger's sums and its table, as `iotistic ledger` prints it."""
    answer = site.api.get("/api/v1/telemetry/ledger")
    assert answer.status_code == 200, answer.text
    table = subprocess.run(
        [sys.executable, "-m", "iotistic", "ledger"],
        env=os.environ | {"IOTISTIC_HOME": str(site.home)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return answer.json()["totals"], table.stdout


def stored(site, device):
    """Return the values stored for a device's counter, through the API, duplicates included."""
    answer = site.api.get(
        f"/api/v1/telemetry/devices/{device}/readings",
        params={"datapoint": "counter", "from": "-1h", "to": "+1h", "format": "csv"},
    )
    if answer.status_code == 404:
        return []
    assert answer.status_code == 200, answer.text
    rows = csv.DictReader(io.StringIO(answer.text))
    return [int(float(row["value"])) for row in rows]
