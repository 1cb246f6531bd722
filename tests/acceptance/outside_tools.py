"""What a stranger has: openssl, a TLS socket, an MQTT client, the command line. Nothing of the product."""

import contextlib
import datetime as dt
import http.client
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from fault_tools import until
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TELEMETRY = "/api/v1/telemetry"
FREE_PORTS = {"API_PORT": "0", "PKI_PORT": "0", "MQTT_PORT": "0", "MQTT_ACCOUNT_PORT": "0"}
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
_macs = itertools.count(0x0200_0000_0001)


def fresh_mac():
    """A MAC that no test used before, as twelve digits."""
    return f"{next(_macs):012x}"


def colons(mac):
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2))


def stamp(age_s=0.0):
    """A payload's timestamp: UTC, microseconds, no zone."""
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def openssl(*arguments, stdin=b"", check=True):
    """Run openssl; return all that it said."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=20, check=check)
    return (done.stdout + done.stderr).decode(errors="replace")


def iotistic(site, *arguments):
    """Run the shipped command against a running installation."""
    environment = {**os.environ, "IOTISTIC_HOME": str(site.home)}
    command = [Path(sys.executable).with_name("iotistic"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def said_json(site, *arguments):
    done = iotistic(site, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


def ask(url, path, method="GET", *, body=None, token=None, ca=None, identity=None, source="127.0.0.1"):
    """Send one request. `identity` is (certificate, key); `source` is the loopback address to come from."""
    to = urlsplit(url)
    if to.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        if identity:
            context.load_cert_chain(*identity)
        connection = http.client.HTTPSConnection(
            to.hostname, to.port, timeout=10, source_address=(source, 0), context=context
        )
    else:
        connection = http.client.HTTPConnection(to.hostname, to.port, timeout=10, source_address=(source, 0))
    headers = {"Authorization": token if " " in (token or " ") else f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        lowered = {name.lower(): value for name, value in response.getheaders()}
        stream = lowered.get("content-type", "").startswith("text/event-stream")
        return Answer(response.status, lowered, b"" if stream else response.read())


def api(site, method, path, body=None, **parameters):
    """Ask the query API as its operator; return the JSON of a good answer."""
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    answer = ask(site.ready["api"], TELEMETRY + path + query, method, body=body, token=site.ready["token"])
    assert answer.status < 300, (path, answer.status, answer.body)
    return answer.json()


def latest(site, device):
    """Return the newest value of each label; nothing for a device that is not known yet."""
    path = f"{TELEMETRY}/devices/{device}/latest"
    answer = ask(site.ready["api"], path, token=site.ready["token"])
    assert answer.status in {200, 404}, answer.body
    return {item["label"]: item for item in answer.json().get("items", ())}


def sensor_on(site, mac, connector, pin):
    """Return the id of the sensor device on a controller's pin, None while there is none."""
    answer = ask(site.ready["api"], f"{TELEMETRY}/devices/{mac}", token=site.ready["token"])
    seats = {
        (one["number"], seat["pin"]): seat["device_id"]
        for one in answer.json().get("connectors", ())
        for seat in one["pins"]
    }
    return seats.get((connector, pin))


def pki(site, method, path, body=None, *, token=None, **how):
    """Ask the certificate authority, as the operator unless `token` says otherwise."""
    token = site.ready["token"] if token is None else token
    return ask(site.ready["pki"], path, method, body=body, token=token, ca=site.ready["ca"], **how)


@dataclass(frozen=True)
class Identity:
    """A device: its MAC as twelve digits, and the files of its certificate and key."""

    mac: str
    certificate: Path
    key: Path

    @property
    def files(self):
        return str(self.certificate), str(self.key)

    def topic(self, mode, connector, component, kind="tele"):
        return f"{kind}/f2-{self.mac}/{mode}/{connector}/{component}"


def enrolled(site, folder, mac=None):
    """Enrol as the contract says: the authority makes the key."""
    mac = mac or fresh_mac()
    issued = pki(site, "POST", "/issue", {"mac": colons(mac)})
    assert issued.status == 200, issued.body
    identity = Identity(mac, Path(folder, f"{mac}.crt"), Path(folder, f"{mac}.key"))
    identity.certificate.write_text(issued.json()["client_cert"])
    identity.key.write_text(issued.json()["private_key"])
    return identity


def signing_request(folder, name, subject):
    """Make a key and a signing request with openssl; return (key file, PEM of the request)."""
    key, request = Path(folder, f"{name}.key"), Path(folder, f"{name}.csr")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-new", *curve, "-keyout", key, "-out", request, "-subj", subject)
    return key, request.read_text()


class Connection:
    """A paho client that remembers what it was told."""

    def __init__(self, host, port, *, identity=None, ca=None, login=None, version=V5, client_id=""):
        self.received, self.reasons, self.subscribed = [], {}, []
        self.connected, self.disconnected = threading.Event(), threading.Event()
        self.disconnected_at = None
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        if identity:
            self.client.tls_set(ca, *identity.files)
        if login:
            self.client.username_pw_set(*login)
        self.client.on_connect = lambda _c, _u, _f, reason, _p: reason.is_failure or self.connected.set()
        self.client.on_disconnect = self._lost
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self.reasons.update({mid: reason})
        self.client.on_subscribe = lambda *_: self.subscribed.append(True)
        self.client.on_message = lambda _c, _u, message: self.received.append(
            (message.topic, message.payload)
        )
        self.client.connect(host, port, keepalive=30)
        self.client.loop_start()

    def _lost(self, *_):
        self.disconnected_at = time.monotonic()
        self.disconnected.set()

    def publish(self, topic, payload, qos=1):
        """Publish and wait for the broker's acknowledgement; return its reason (MQTT 5)."""
        payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = self.client.publish(topic, payload, qos=qos)
        sent.wait_for_publish(10)
        assert sent.is_published(), topic
        return until(lambda: self.reasons.get(sent.mid), 10) if qos else None

    def subscribe(self, topic_filter):
        before = len(self.subscribed)
        self.client.subscribe(topic_filter, 1)
        until(lambda: len(self.subscribed) > before, 10)

    def close(self):
        """End the connection; the client closes its last sockets when nothing refers to it any more."""
        self.client.disconnect()
        self.client.loop_stop()
        for name in ("on_connect", "on_disconnect", "on_publish", "on_subscribe", "on_message"):
            setattr(self.client, name, None)


@contextlib.contextmanager
def connection(*place, **how):
    opened = Connection(*place, **how)
    try:
        assert opened.connected.wait(10), "the broker did not accept the connection"
        yield opened
    finally:
        opened.close()


def as_device(site, identity, **how):
    """Connect by mutual TLS."""
    to = urlsplit(site.ready["mqtt"])
    return connection(to.hostname, to.port, identity=identity, ca=site.ready["ca"], **how)


def as_service(site, **how):
    """Connect as a gateway on the same machine does: loopback listener, password of the installation."""
    port = json.loads((site.home / "up.json").read_text())["ports"]["mqtt_service"]
    password = (site.home / "secrets" / "mqtt-service-password").read_text().strip()
    return connection("127.0.0.1", port, login=("iotistic", password), **how)


class EventStream(threading.Thread):
    """Reads the live stream from a plain socket."""

    def __init__(self, site, path=f"{TELEMETRY}/stream"):
        super().__init__(daemon=True)
        to = urlsplit(site.ready["api"])
        self._socket = socket.create_connection((to.hostname, to.port), timeout=60)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {to.netloc}\r\nAuthorization: Bearer {site.ready['token']}\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\n")
        self.events = []
        self.start()

    def run(self):
        kind = None
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                if line.startswith("event: "):
                    kind = line[7:].strip()
                elif line.startswith("data: "):
                    self.events.append((kind, json.loads(line[6:])))

    def since(self, number, *, at):
        """What came after the first `number` events and bears the time `at`."""
        return [(kind, event) for kind, event in self.events[number:] if event.get("timestamp") == at]

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._lines.close()
        self._socket.close()


def log_events(site, name):
    """Events of one name in all log files of the home."""
    lines = itertools.chain.from_iterable(
        path.read_text(errors="replace").splitlines() for path in (site.home / "logs").glob("*.log")
    )
    return [event for event in map(_parsed, lines) if event.get("event") == name]


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return {}


def crc(frame):
    """CRC-16/MODBUS bit by bit, as its specification describes it."""
    remainder = 0xFFFF
    for byte in frame:
        remainder ^= byte
        for _ in range(8):
            carry, remainder = remainder & 1, remainder >> 1
            remainder ^= 0xA001 * carry
    return remainder.to_bytes(2, "little")


def modbus(data, address=1):
    """A reply to `read holding registers` in hex, as an F2 controller forwards it."""
    body = bytes([address, 3, len(data)]) + data
    return (body + crc(body)).hex(" ").upper()
