"""What one line of Mosquitto's log means to us: an event with the rule or reason that refused, or nothing.

Made from the lines of 2.0.11; later versions of 2.0 add the peer's address behind the client's id, in
parentheses or brackets, and that is taken where it stands. The state kept is small: connections that did
not yet say who they are, which clients are devices, and the last TLS error, as the broker writes a refused
handshake as two lines.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_PENDING_KEPT = 1024
_DEVICES_KEPT = 200_000


class Refusal(StrEnum):
    """Why the broker refused a connection or closed it."""

    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_REJECTED = "certificate_rejected"
    """Revoked, expired, or of a foreign authority. OpenSSL tells the device which by its TLS alert, and the
    broker only that verification failed."""
    BROKER_NOT_TRUSTED = "broker_not_trusted"
    TLS_EXPECTED = "tls_expected"
    TLS_FAILED = "tls_failed"
    BAD_CREDENTIALS = "bad_credentials"
    PROTOCOL_ERROR = "protocol_error"
    PACKET_TOO_LARGE = "packet_too_large"
    KEEPALIVE_TOO_LONG = "keepalive_too_long"


@dataclass(frozen=True)
class BrokerEvent:
    """A log event: `level` is a method name of a structlog logger."""

    name: str
    level: str
    fields: dict[str, object] = field(default_factory=dict[str, object])


_TLS_ERRORS = (
    ("peer did not return a certificate", Refusal.CERTIFICATE_MISSING),
    ("certificate verify failed", Refusal.CERTIFICATE_REJECTED),
    ("alert", Refusal.BROKER_NOT_TRUSTED),
    ("wrong version number", Refusal.TLS_EXPECTED),
    ("http request", Refusal.TLS_EXPECTED),
    ("packet length too long", Refusal.TLS_EXPECTED),
)
_CHATTER = ("Sending ", "Received ", "No will ", "\t")
_OPENED = re.compile(r"New connection from (\S+) on port (\d+)\.")
_IDENTIFIED = re.compile(r"New client connected from (\S+) as (.*) \(p\d, c\d, k\d+(?:, u'(.*)')?\)\.")
_DENIED = re.compile(r"Denied PUBLISH from (.*) \(d\d, q(\d), r\d, m\d+, '(.*)', .*")
_HANDSHAKE_FAILED = re.compile(r"Client connection from (?P<host>\S+) failed: (?P<why>.*?)\.?")
_TLS_ERROR = re.compile(r"OpenSSL Error\[\d+\]: (.*)")
_SUBSCRIBED = re.compile(r"(\S+) [012] (\S.*)")
_GONE = re.compile(
    r"(?:Client|Bad socket read/write on client) (?P<client>.*?)(?: [\[(](?P<address>[^\])\s]+:\d+)[\])])?"
    r"(?P<why>:| disconnected| closed its| has exceeded| been disconnected| already connected)(?P<rest>.*)"
)
_MAC = re.compile(r"[0-9a-f]{12}")
_ERROR = re.compile(r"(?:Error|Unable|Warning|Out of memory|Invalid|Failed).*")


class LineReader:
    """Turns lines into events, in the order the broker wrote them."""

    def __init__(self, *, device_port: int, patterns: Sequence[str]) -> None:
        self._device_port = device_port
        self._rules = {access: _rules(patterns, access) for access in ("read", "write")}
        self._pending: dict[str, int] = {}
        self._devices: set[str] = set()
        self._tls_error: tuple[Refusal, str] | None = None
        self._hung_up = False
        self._handlers = (
            (_OPENED, self._opened),
            (_IDENTIFIED, self._identified),
            (_DENIED, self._denied),
            (_TLS_ERROR, self._tls_failed),
            (_HANDSHAKE_FAILED, self._handshake_failed),
            (_GONE, self._gone),
            (_SUBSCRIBED, self._subscribed),
            (_ERROR, self._error),
        )

    def read(self, line: str) -> BrokerEvent | None:
        """Return the event of one line, without its line break; None for chatter."""
        if line.startswith(_CHATTER):
            return None
        for shape, handle in self._handlers:
            if found := shape.fullmatch(line):
                return handle(found)
        return None

    def _opened(self, line: re.Match[str]) -> None:
        if len(self._pending) >= _PENDING_KEPT:
            self._pending.pop(next(iter(self._pending)))
        self._pending[line[1]] = int(line[2])

    def _identified(self, line: re.Match[str]) -> BrokerEvent:
        address, client, username = line.groups()
        port = self._pending.pop(address, None)
        if port == self._device_port and len(self._devices) < _DEVICES_KEPT:
            self._devices.add(client)
        fields: dict[str, object] = {"client": client, "username": username, "address": address, "port": port}
        return BrokerEvent("broker.client_connected", "debug", fields)

    def _denied(self, line: re.Match[str]) -> BrokerEvent:
        return self._refused("write", line[1], topic=line[3], qos=int(line[2]))

    def _refused(self, access: str, client: str, **fields: object) -> BrokerEvent:
        # A device is shown the rules of its own kind: F2 devices are named by a MAC, agents by a uuid.
        kind = [rule for rule in self._rules[access] if ("f2-" in rule) == bool(_MAC.fullmatch(client))]
        rules = kind if client in self._devices else ["access.acl"]
        named: dict[str, object] = {"client": client, "access": access, "rule": "; ".join(rules)}
        return BrokerEvent("broker.acl_denied", "warning", named | fields)

    def _error(self, line: re.Match[str]) -> BrokerEvent:
        return BrokerEvent("broker.error_reported", "error", {"line": line[0]})

    def _tls_failed(self, line: re.Match[str]) -> None:
        """Remember the TLS error; of several lines the first that we know counts."""
        if "unexpected eof" in line[1]:  # a peer that went away without a word, which radio links do
            self._hung_up = True
            return
        reason = _tls_refusal(line[1])
        if self._tls_error is None or self._tls_error[0] is Refusal.TLS_FAILED:
            self._tls_error = reason, line[1].rpartition(":")[2]

    def _handshake_failed(self, line: re.Match[str]) -> BrokerEvent | None:
        """Read the one line that later versions write for a refused handshake; it names no port."""
        self._tls_error = None
        self._peer(None)
        if "unexpected eof" in line["why"]:
            return None
        reason = _tls_refusal(line["why"])
        fields: dict[str, object] = {"reason": str(reason), "address": line["host"], "detail": line["why"]}
        return BrokerEvent("broker.client_refused", "warning", fields)

    def _gone(self, line: re.Match[str]) -> BrokerEvent:
        client, address, why = line["client"], line["address"], (line["why"] + line["rest"]).strip(" .:")
        tls_error, self._tls_error = self._tls_error, None
        hung_up, self._hung_up = self._hung_up, False
        self._devices.discard(client)
        known = client != "<unknown>"
        # The broker says "protocol error" of whoever went away in the middle of a handshake, too.
        refusal = (
            None if hung_up and not known and tls_error is None else _refusal(why, tls_error, known=known)
        )
        if refusal:
            fields: dict[str, object] = {"reason": str(refusal), "client": client if known else None}
            fields |= self._peer(address) | ({"detail": tls_error[1]} if tls_error else {})
            return BrokerEvent("broker.client_refused", "warning", fields)
        if not known:
            self._peer(address)
        return BrokerEvent("broker.client_disconnected", "debug", {"client": client, "why": why})

    def _peer(self, address: str | None) -> dict[str, object]:
        """Return address and port of the connection that ended, where the log leaves no doubt."""
        if address is None and len(self._pending) == 1:
            address = next(iter(self._pending))
        if address is None:
            if self._pending:
                self._pending.pop(next(iter(self._pending)))
            return {}
        return {"address": address, "port": self._pending.pop(address, None)}

    def _subscribed(self, line: re.Match[str]) -> BrokerEvent | None:
        """Judge a device's subscription: Mosquitto grants all and delivers only what a pattern allows."""
        client, topic_filter = line.groups()
        if client not in self._devices:
            return None
        allowed = [
            rule.split(" ", 2)[2].replace("%u", client).removesuffix("#") for rule in self._rules["read"]
        ]
        if any(topic_filter.startswith(prefix) for prefix in allowed):
            return None
        return self._refused("read", client, topic=topic_filter)


def _rules(patterns: Sequence[str], access: str) -> list[str]:
    return [pattern for pattern in patterns if pattern.split(" ")[1] in (access, "readwrite")]


def _tls_refusal(text: str) -> Refusal:
    return next((reason for words, reason in _TLS_ERRORS if words in text), Refusal.TLS_FAILED)


def _refusal(why: str, tls_error: tuple[Refusal, str] | None, *, known: bool) -> Refusal | None:
    if tls_error is not None:
        return tls_error[0]
    if "not authorised" in why:
        return Refusal.BAD_CREDENTIALS
    if "oversize" in why:
        return Refusal.PACKET_TOO_LARGE
    if "rotocol error" in why or "malformed" in why:
        return Refusal.PROTOCOL_ERROR
    return None if known or "disconnected" not in why else Refusal.PROTOCOL_ERROR
