"""Mosquitto's configuration as a frozen description, rendered to the text that it reads.

Two listeners or three, no anonymous access on any:

    devices    mutual TLS; the certificate's CN is user name and client id; patterns bound to that name
    services   loopback only; one user with the password made at first run; all topics
    accounts   when wanted: TLS of the broker alone, names with passwords; rules of each name (accounts.py)

Every change is a re-rendered file and a restart, except for revocation lists, which are looked up at each
handshake. SIGHUP would do for some, but crashes Mosquitto 2.0 later (docs/decisions/0003).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from iotistic.kernel.errors import Invalid
from iotistic.kernel.mosquitto.agent_rights import AGENT_PATTERNS
from iotistic.kernel.mosquitto.files import BrokerFiles

DEVICE_PATTERNS = (
    "pattern write stat/f2-%u/#",
    "pattern write tele/f2-%u/#",
    "pattern write backlog/stat/f2-%u/#",
    "pattern write backlog/tele/f2-%u/#",
    "pattern read cmnd/f2-%u/#",
    *AGENT_PATTERNS,
)
"""What a device may do, in Mosquitto's words; %u is its CN (MAC or uuid). Whatever no pattern allows is refused."""

OPENSSL = """openssl_conf = broker
[broker]
ssl_conf = defaults
[defaults]
system_default = listeners
[listeners]
MinProtocol = TLSv1.2
Options = -SessionTicket
NumTickets = 0
"""
"""OpenSSL's configuration for the broker's process: no tickets. Who resumes a session by one is not verified
again, so a revoked device would come back. TLS 1.2 resumes without tickets as well: see put_off.py."""

_LOG_TYPES = ("error", "warning", "notice", "information", "subscribe")


class BrokerConfigInvalid(Invalid):
    """A value cannot stand in the broker's configuration."""

    code = "broker.config_invalid"


@dataclass(frozen=True, kw_only=True)
class BrokerLimits:
    """Limits of the broker. None of them drops a QoS 1 message that was acknowledged."""

    max_inflight_messages: int = 20_000
    """Unacknowledged QoS 1 messages towards one client. High, because services acknowledge after a commit;
    below half of the 65,535 packet identifiers, which 2.0.11 reuses without looking whether one is free."""
    max_queued_messages: int = 1_000_000_000
    """Messages waiting for one absent or slow client: in effect no limit, as dropping one would lose it.
    Not 0, the documented way to say so: 2.0.11 then disconnects every client whose publish it refuses."""
    max_queued_bytes: int = 0
    """Bytes waiting for one client; 0 is no limit, for the same reason."""
    max_packet_bytes: int = 1024 * 1024
    """Largest MQTT packet; a client that sends more is disconnected. `message_size_limit` is not used: it
    acknowledges a large message of an MQTT 3 client and drops it."""
    max_keepalive_s: int = 3600
    """Longest keep-alive in seconds: a silent device is noticed after one and a half times this. MQTT 5
    clients are told; an MQTT 3 client that asks for more, or for none, is refused."""
    max_connections: int = -1
    """Connections per listener; -1 leaves it to the limit of open files."""
    autosave_interval_s: int = 10
    """Seconds between saves of queued messages, sessions and retained messages: what `kill -9` or a power
    cut can cost while the subscriber is away or does not keep up. A save stops the broker's only thread:
    measured 0.12 s with 100,000 messages queued, 1.1 s with 500,000, nothing to speak of with none."""
    session_expiry_days: int = 30
    """Days after which the session of a client that never came back is forgotten, with what waits for it."""
    sys_interval_s: int = 10
    """Seconds between updates of the broker's own figures below $SYS."""


@dataclass(frozen=True, kw_only=True)
class DeviceListener:
    """Where devices connect, by mutual TLS."""

    host: str
    port: int
    patterns: tuple[str, ...] = DEVICE_PATTERNS


@dataclass(frozen=True, kw_only=True)
class ServiceListener:
    """Where our own services connect: without TLS, therefore on loopback, or a network of our own processes."""

    host: str = "127.0.0.1"
    port: int
    username: str = "iotistic"


@dataclass(frozen=True, kw_only=True)
class AccountListener:
    """Where devices and programs without a certificate connect: TLS, a name and a password."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """One broker, whole."""

    files: BrokerFiles
    devices: DeviceListener
    services: ServiceListener
    accounts: AccountListener | None = None
    limits: BrokerLimits = BrokerLimits()
    debug_lines: bool = False
    """Whether the log has debug lines, which name each refused publish."""

    def render(self) -> str:
        """Return mosquitto.conf.

        Raises BrokerConfigInvalid for a value with a line break, which would start a line of its own.
        """
        lines = [
            *self._general(),
            *self._device_listener(),
            *self._service_listener(),
            *self._account_listener(),
        ]
        if any(not line.isprintable() for line in lines):
            raise BrokerConfigInvalid(
                "a path or name in the broker's configuration holds a control character"
            )
        return "\n".join(lines) + "\n"

    def _general(self) -> Iterator[str]:
        limits = self.limits
        # With per_listener_settings, 2.0.21 drops what it acknowledged for a client that is away.
        yield "per_listener_settings false"
        yield "allow_anonymous false"
        yield f"password_file {self.files.passwords}"
        yield f"acl_file {self.files.acl}"
        yield f"pid_file {self.files.pid}"
        yield "log_dest stderr"
        # $SYS/broker/log/…: who came and went, for those who keep the presence of devices. Debug lines stay out.
        yield "log_dest topic"
        yield "log_timestamp false"
        yield "connection_messages true"
        for log_type in (*_LOG_TYPES, *(["debug"] if self.debug_lines else [])):
            yield f"log_type {log_type}"
        yield "persistence true"
        yield f"persistence_location {self.files.data}/"
        yield f"autosave_interval {limits.autosave_interval_s}"
        yield f"persistent_client_expiration {limits.session_expiry_days}d"
        yield "queue_qos0_messages false"
        yield f"max_inflight_messages {limits.max_inflight_messages}"
        yield f"max_queued_messages {limits.max_queued_messages}"
        yield f"max_queued_bytes {limits.max_queued_bytes}"
        yield f"max_packet_size {limits.max_packet_bytes}"
        yield f"max_keepalive {limits.max_keepalive_s}"
        yield f"sys_interval {limits.sys_interval_s}"
        # With it the broker writes each message to a busy subscriber alone: 12 instead of 9 CPU seconds a
        # million messages. Without it a trickle waits some 10 ms longer.
        yield "set_tcp_nodelay false"

    def _device_listener(self) -> Iterator[str]:
        yield f"listener {self.devices.port} {self.devices.host}"
        yield f"max_connections {self.limits.max_connections}"
        yield f"cafile {self.files.ca}"
        yield f"certfile {self.files.certificate}"
        yield f"keyfile {self.files.key}"
        yield f"crlfile {self.files.crl}"
        yield f"capath {self.files.revoked}"
        yield "require_certificate true"
        yield "use_identity_as_username true"
        yield "use_username_as_clientid true"
        yield "tls_version tlsv1.2"

    def _service_listener(self) -> Iterator[str]:
        yield f"listener {self.services.port} {self.services.host}"
        yield f"max_connections {self.limits.max_connections}"

    def _account_listener(self) -> Iterator[str]:
        if self.accounts is None:
            return
        yield f"listener {self.accounts.port} {self.accounts.host}"
        yield f"max_connections {self.limits.max_connections}"
        yield f"certfile {self.files.certificate}"
        yield f"keyfile {self.files.key}"
        # Otherwise whoever has any account takes over the session of a device or service by its client id.
        yield "use_username_as_clientid true"
        yield "tls_version tlsv1.2"

    def render_acl(self) -> str:
        """Return the access rules: everything for our services, the patterns for whoever connects.

        A certificate with the services' user name as its CN would have their rights: the authority issues
        none, as a device's CN is its MAC.
        """
        services = f"user {self.services.username}\ntopic readwrite #\ntopic read $SYS/#\n"
        return services + "\n".join(self.devices.patterns) + "\n"
