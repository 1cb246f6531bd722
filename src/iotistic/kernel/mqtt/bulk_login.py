"""How a bulk subscriber gets in: connect, TLS, CONNECT and SUBSCRIBE, before the bulk reading begins."""

import contextlib
import socket
import ssl
from dataclasses import dataclass

from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.kernel.mqtt.packets import (
    Connack,
    Packet,
    PacketReader,
    ProtocolError,
    encode_connect,
    encode_subscribe,
    encode_unsubscribe,
)
from iotistic.kernel.mqtt.reasons import reason_name

_PACKET_ID = 1
_QOS_1_NOT_RETAINED = 0x21
_WITHIN_S = 10.0
_SO_RCVBUFFORCE = 33  # of Linux; the socket module does not name it
_RECEIVE_BUFFER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How one bulk subscriber connects and reads."""

    host: str
    port: int
    client_id: str
    filters: tuple[str, ...]
    ended_filters: tuple[str, ...] = ()
    """Subscriptions that the session may still have from an earlier run, and that end now. Without
    `filters`, only what waits in the session still comes."""
    topic_prefix: bytes = b""
    """Taken off the topic of every message; all filters begin with it."""
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    receive_maximum: int = 20_000
    """How many messages the broker may send without an acknowledgement; packet ids end at 65,535."""
    session_expiry_s: int = 7 * 86_400
    """How long the broker keeps what arrives while we are away."""
    keepalive_s: int = 30
    linger_s: float = 0.025
    """How long to let messages gather at 100,000 a second; less in proportion when there are fewer."""
    drain_bytes: int = 8 << 20
    """Most bytes taken in one delivery."""


def log_in(options: BulkOptions) -> tuple[Connack, socket.socket, bytes]:
    """Connect, log in and ask for the subscriptions, blocking (run it in a thread).

    Returns the answer, the socket (not blocking any more) and what was read beyond the answer: the
    broker may send messages of an earlier session at once. Raises BrokerUnavailable or BrokerRefused.
    """
    try:
        sock = _connect(options.host, options.port)
    except OSError as exc:
        raise BrokerUnavailable(f"no broker at {options.host}:{options.port}: {exc}") from exc
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.tls is not None:
            sock = options.tls.wrap_socket(sock, server_hostname=options.host)
        connack, rest = _hand_shake(sock, options)
        sock.setblocking(False)
    except (OSError, ProtocolError) as exc:
        sock.close()
        raise BrokerUnavailable(f"the broker did not let us in: {exc}") from exc
    except BaseException:
        sock.close()
        raise
    return connack, sock, rest


def _connect(host: str, port: int) -> socket.socket:
    """Connect with a receive buffer that holds what a broker sends while we are busy.

    What lies in the buffer survives a broker that is killed; what the broker holds back does not. Only
    root may go past the system's limit, and asking for less would end the kernel's own growing of it.
    """
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
            sock.settimeout(_WITHIN_S)
            sock.connect(address)
        except OSError as exc:
            sock.close()
            failure = exc
        else:
            return sock
    raise failure


def _hand_shake(sock: socket.socket, options: BulkOptions) -> tuple[Connack, bytes]:
    sock.sendall(
        encode_connect(
            client_id=options.client_id,
            username=options.username,
            password=options.password,
            keepalive_s=options.keepalive_s,
            clean_start=False,
            session_expiry_s=options.session_expiry_s,
            receive_maximum=options.receive_maximum,
        )
    )
    packet, rest = _first_packet(sock)
    if not isinstance(packet, Connack):
        raise ProtocolError("the broker's first packet is no CONNACK")
    if packet.reason:
        raise BrokerRefused(f"the broker refused {options.client_id}: {reason_name(packet.reason)}")
    if options.filters:
        # What is retained is no news: it would be stored again at every connection.
        sock.sendall(
            encode_subscribe(_PACKET_ID, [(wanted, _QOS_1_NOT_RETAINED) for wanted in options.filters])
        )
    if options.ended_filters:  # behind the new ones, so that nothing falls in between
        sock.sendall(encode_unsubscribe(_PACKET_ID + 1, options.ended_filters))
    return packet, rest


def _first_packet(sock: socket.socket) -> tuple[Packet, bytes]:
    reader = PacketReader()
    while octets := sock.recv(65_536):
        for at in range(len(octets)):
            if packets := reader.feed(octets[at : at + 1]):
                return packets[0], octets[at + 1 :]
    raise BrokerUnavailable("the broker closed the connection before it answered")
