"""A deployed agent of the earlier system, played back from tests/cases/deployed_agent; nothing of the product."""

import contextlib
import datetime as dt
import gzip
import http.client
import json
import re
import secrets
import socket
import ssl
import time
import uuid as uuids
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

CASES = Path(__file__).parents[1] / "cases" / "deployed_agent"
BASE = "/api/v1"
PATTERNS = {
    "<text>": lambda value: isinstance(value, str) and value != "",
    "<number>": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "<flag>": lambda value: isinstance(value, bool),
    "<list>": lambda value: isinstance(value, list) and value != [],
    "<object>": lambda value: isinstance(value, dict),
    "<time>": lambda value: dt.datetime.fromisoformat(value).utcoffset() == dt.timedelta(),
    "<hex40>": lambda value: re.fullmatch(r"[0-9a-f]{40}", value) is not None,
    "<hex64>": lambda value: re.fullmatch(r"[0-9a-f]{64}", value) is not None,
}


@dataclass
class DeployedAgent:
    """One device and its connection to the API; `known` is what `<name>` in a case stands for."""

    api: str
    operator_token: str
    provisioning_key: str
    known: dict = field(default_factory=dict)

    def __post_init__(self):
        self.known = {
            "uuid": str(uuids.uuid4()),
            "device_key": secrets.token_hex(32),
            "another_key": secrets.token_hex(32),
            "nobody": str(uuids.uuid4()),
            "provisioning_key": self.provisioning_key,
        } | self.known
        to = urlsplit(self.api)
        self._connection = http.client.HTTPConnection(to.hostname, to.port, timeout=30)

    def close(self):
        self._connection.close()

    def play(self, chapter, part="exchanges", **more):
        """Say everything of a chapter, and check each answer."""
        self.know(**more)
        self._connection.close()  # as fetch does after some seconds of silence
        for exchange in case(chapter)[part]:
            self._exchange(exchange)

    def know(self, **more):
        """Learn what is said from now on; the time is that of the moment."""
        now = dt.datetime.now(dt.UTC)
        stamps = {"now": now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "now_ms": time.time_ns() // 10**6}
        self.known |= stamps | more

    def fill(self, value):
        """Return a part of a case with what is known in the place of names."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.fill(one) for one in value]
        if not isinstance(value, str):
            return value
        if value.strip("<>") in self.known and value.startswith("<"):
            return self.known[value.strip("<>")]
        return re.sub(r"<(\w+)>", lambda found: str(self.known.get(found[1], found[0])), value)

    def _exchange(self, exchange):
        request, expected = self.fill(exchange["request"]), self.fill(exchange["answer"])
        by = exchange.get("by", "agent")
        what = f"{by}: {exchange['what']} ({request['method']} {request['path']})"
        headers = request.get("headers", {})
        if by == "operator":
            headers = {"content-type": "application/json", "authorization": f"Bearer {self.operator_token}"}
        status, told, body = self._send(request, headers)
        assert status == expected["status"], (what, status, body)
        for name, value in expected.get("headers", {}).items():
            wanted = str(len(body)) if value == "<length>" else value
            check(wanted, told.get(name, ""), f"{what}: {name}")
        document = json.loads(body) if body else None
        if "json" in expected:
            check(expected["json"], document, what)
        for name, where in exchange.get("keep", {}).items():
            self.known[name] = found(where, told, document)

    def _send(self, request, headers):
        body = body_of(request)
        to = self._connection
        to.putrequest(request["method"], BASE + request["path"], skip_host=True, skip_accept_encoding=True)
        length = {} if body is None else {"content-length": str(len(body))}
        for name, value in (
            {"host": f"{to.host}:{to.port}", "connection": "keep-alive"}
            | headers
            | {
                "accept": "*/*",
                "accept-language": "*",
                "sec-fetch-mode": "cors",
                "user-agent": "node",
                "accept-encoding": "gzip, deflate",
            }
            | length
        ).items():
            to.putheader(name, value)
        to.endheaders(body)
        answer = to.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, told, unpacked(answer.read(), told.get("content-encoding", ""))


class BrokerLink:
    """The agent's connection to the broker, made of what registration gave; packets of MQTT 3.1.1 as they stand."""

    def __init__(self, agent, **otherwise):
        """Raise OSError when the broker is away, PermissionError when it does not let this login in."""
        self._agent, self.received, self._heard, self._settled, self._next = agent, [], 0, set(), 0
        known = agent.known | otherwise
        to = urlsplit(known["broker"])
        context = ssl.create_default_context(cadata=known["ca"])
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection((to.hostname, to.port), timeout=10))
            self._socket = stack.enter_context(context.wrap_socket(plain, server_hostname=to.hostname))
            login = (f"device_{known['uuid']}", known["username"], known["password"])
            # Clean session, a name and a password; keep-alive of 60 s.
            connect = (
                b"\x00\x04MQTT\x04" + bytes([0b11000010]) + (60).to_bytes(2) + b"".join(map(worded, login))
            )
            self._socket.sendall(packet(0x10, connect))
            kind, answer = self._read()
            if (kind, answer) != (0x20, b"\x00\x00"):
                raise PermissionError(f"the broker answered {kind:#x} {answer.hex()}")
            for rest in ("jobs/notify-next", "jobs/+/update/accepted", "agent/update"):
                self.subscribe(f"iot/device/{known['uuid']}/{rest}")
            stack.pop_all()

    def subscribe(self, topic_filter):
        number = self._number()
        self._socket.sendall(packet(0x82, number.to_bytes(2) + worded(topic_filter) + b"\x01"))
        self._until(lambda: number in self._settled, topic_filter)

    def say(self, topic, document):
        """Publish and wait for the broker's acknowledgement, which 3.1.1 gives for what is refused as well."""
        number = self._number()
        self._socket.sendall(packet(0x32, worded(topic) + number.to_bytes(2) + stringify(document)))
        self._until(lambda: number in self._settled, topic)

    def converse(self, chapter):
        """Say and hear the messages of a chapter, in their order."""
        for message in case(chapter)["messages"]:
            if "says" in message:
                self.say(self._agent.fill(message["says"]), self._agent.fill(message["json"]))
            else:
                self._until(lambda: len(self.received) > self._heard, message["hears"])
                topic, payload = self.received[self._heard]
                self._heard += 1
                assert topic == self._agent.fill(message["hears"])
                check(self._agent.fill(message["json"]), json.loads(payload), topic)

    def settle(self):
        """Return once the broker has sent what it had: it answers a ping after that."""
        self._socket.sendall(b"\xc0\x00")
        self._until(lambda: 0 in self._settled, "an answer to a ping")

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\xe0\x00")
        self._socket.close()

    def _number(self):
        self._next += 1
        return self._next

    def _until(self, seen, what):
        deadline = time.monotonic() + 15
        while not seen():
            assert time.monotonic() < deadline, what
            self._hear(*self._read())

    def _hear(self, kind, body):
        if kind & 0xF0 == 0x30:
            end = 2 + int.from_bytes(body[:2])
            at_least_once = kind & 0x06
            self.received.append((body[2:end].decode(), body[end + 2 * bool(at_least_once) :]))
            if at_least_once:
                self._socket.sendall(packet(0x40, body[end : end + 2]))
        else:
            self._settled.add(int.from_bytes(body[:2]))

    def _read(self):
        """Return the next packet: its first byte, and what follows its length."""
        kind, length, shift = self._exactly(1)[0], 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, self._exactly(length)

    def _exactly(self, count):
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise ConnectionResetError("the broker ended the connection")
            found += part
        return found


def worded(text):
    """Write a string of MQTT: its length, then it."""
    return len(text.encode()).to_bytes(2) + text.encode()


def packet(kind, body):
    length, left = b"", len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length += bytes([low | (0x80 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


def case(chapter):
    return json.loads((CASES / f"{chapter}.json").read_text())


def stringify(value):
    """Write JSON as JSON.stringify does."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def body_of(request):
    if "lines" in request:
        body = b"".join(stringify(line) + b"\n" for line in request["lines"])
    elif "json" in request:
        body = stringify(request["json"])
    else:
        return None
    return gzip.compress(body) if request.get("packed") else body


def unpacked(body, encoding):
    return zlib.decompress(body, 16 + zlib.MAX_WBITS) if encoding == "gzip" else body


def found(where, headers, document):
    kind, path = where.split(" ")
    if kind == "header":
        return headers[path]
    for name in path.split("."):
        document = document[name]
    return document


def check(expected, actual, what):
    """Compare what is expected with an answer; objects may have more, lists have the same length."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict), (what, expected, actual)
        for name, value in expected.items():
            assert name in actual, (what, name, actual)
            check(value, actual[name], f"{what}: {name}")
    elif isinstance(expected, list):
        assert isinstance(actual, list), (what, expected, actual)
        assert len(actual) == len(expected), (what, expected, actual)
        for number, (wanted, given) in enumerate(zip(expected, actual, strict=True)):
            check(wanted, given, f"{what}: {number}")
    elif expected in PATTERNS:
        assert PATTERNS[expected](actual), (what, expected, actual)
    else:
        assert actual == expected, what
