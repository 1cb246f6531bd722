"""One connection of a lean client, from the TCP handshake to the last packet."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Protocol, cast

from iotistic.kernel.errors import Denied, IotisticError, Unavailable
from iotistic.kernel.mqtt.lean_model import Traffic
from iotistic.kernel.mqtt.packets import (
    Connack,
    Disconnect,
    Packet,
    PacketReader,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Unsuback,
    encode_connect,
    encode_pingreq,
    encode_puback,
    encode_subscribe,
)
from iotistic.kernel.mqtt.reasons import is_failure, reason_name
from iotistic.kernel.mqtt.tls import TlsChannel

_SUBSCRIBE_ID = 0xFFFF
_MAX_PACKET_BYTES = 1 << 20


class ConnectionRefused(Denied):
    """The broker refuses this client."""

    code = "mqtt.refused"


class ConnectionLost(Unavailable):
    """The connection to the broker is lost."""

    code = "mqtt.connection_lost"


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Where to connect, and as whom. `window`: messages that may be unacknowledged at once.

    `quiet_share`: part of the keep-alive after which a silent connection is pinged. Below 1; near 1 it costs
    the fewest bytes. Unless `needs_all_subscriptions`, a refused one costs no more than itself.
    `network_patience_s`: how long bytes may be on their way before the connection counts as lost; None leaves it
    to the system, which takes a quarter of an hour.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    keepalive_s: int = 60
    session_expiry_s: int = 3600
    window: int = 50
    connect_timeout_s: float = 20.0
    subscriptions: tuple[tuple[str, int], ...] = ()
    needs_all_subscriptions: bool = True
    quiet_share: float = 0.5
    network_patience_s: float | None = None


class Owner(Protocol):
    """What a link tells its client."""

    @property
    def options(self) -> LinkOptions: ...  # noqa: D102 - see LeanClient
    @property
    def traffic(self) -> Traffic: ...  # noqa: D102
    def link_received(self, message: Publish) -> None: ...  # noqa: D102
    def link_acknowledged(self, packet_id: int, reason: int) -> None: ...  # noqa: D102
    def link_ready(self) -> None: ...  # noqa: D102
    def link_lost(self, link: "Link", cause: IotisticError) -> None: ...  # noqa: D102


class Link(asyncio.Protocol):
    """Speaks MQTT 5 over one TCP connection, inside of TLS when given a channel."""

    __slots__ = (
        "_channel", "_heard_at", "_keepalive_s", "_loop", "_opened", "_owner", "_reader", "_sent_at",
        "_session_present", "_timer", "_traffic", "_transport", "congested", "most_packet_bytes", "online",
        "refused_filters", "window",
    )  # fmt: skip

    def __init__(self, owner: Owner, channel: TlsChannel | None) -> None:
        self._owner = owner
        self._channel = channel
        self._reader = PacketReader(max_packet_bytes=_MAX_PACKET_BYTES)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[bool] | None = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._keepalive_s = float(owner.options.keepalive_s)
        self._heard_at = self._sent_at = self._loop.time()
        self._session_present = False
        self._traffic = owner.traffic
        self.refused_filters: tuple[str, ...] = ()
        self.most_packet_bytes: int | None = None
        self.online = False
        self.congested = False
        self.window = owner.options.window

    async def until_online(self) -> bool:
        """Wait for CONNACK and SUBACK; tell whether the broker kept our session. Raises what went wrong."""
        if self._opened is None:
            return self._session_present
        try:
            return await self._opened
        finally:
            self._opened = None

    def send(self, data: bytes) -> None:
        """Send packets; nothing happens once the connection is gone."""
        if not data or self._transport is None:
            return
        self._sent_at = self._loop.time()
        if self._channel is None:
            self._write(self._transport, data)
            return
        try:
            self._channel.write(data)
        except ssl.SSLError as exc:
            # Later, because a caller in the middle of sending must not find its link replaced.
            self._loop.call_soon(self._lose, ConnectionLost(f"TLS failed: {exc.reason or exc}"))
        self._flush()

    def close(self) -> None:
        """Send what is written, then end the connection; the client is not told."""
        transport, self._transport = self._transport, None
        self._quiet()
        if transport is None:
            return
        if self._channel is not None and self._channel.ready:
            self._channel.close()
            self._write(transport, self._channel.to_send())
        transport.close()

    def abandon(self) -> None:
        """End the connection at once; the client is not told."""
        transport, self._transport = self._transport, None
        self._quiet()
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: TCP stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it
        patience_s = self._owner.options.network_patience_s
        if patience_s is not None:
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience_s * 1000))
        if self._channel is None:
            self._greet()
        else:
            self._channel.start()
            self._flush()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._heard_at = self._loop.time()
        self._traffic.received += len(data)
        try:
            if self._channel is not None:
                data = self._decrypt(self._channel, data)
            packets = self._reader.feed(data) if data else []
            for packet in packets:
                self._handle(packet)
        except ssl.SSLError as exc:
            self._lose(ConnectionLost(f"TLS failed: {exc.reason or exc}"))
        except IotisticError as exc:
            self._lose(exc)
        else:
            if self.online and packets:
                self._owner.link_ready()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        if self._transport is not None:
            self._transport = None
            self._lose(ConnectionLost(f"the connection is lost: {exc}" if exc else None))

    def pause_writing(self) -> None:
        """asyncio: the peer reads more slowly than we write."""
        self.congested = True

    def resume_writing(self) -> None:
        """asyncio: the way is clear again."""
        self.congested = False
        self._owner.link_ready()

    def _decrypt(self, channel: TlsChannel, data: bytes) -> bytes:
        was_ready = channel.ready
        try:
            plain = channel.receive(data)
        finally:
            self._flush()
        if channel.ready and not was_ready:
            self._greet()
        return plain

    def _flush(self) -> None:
        if self._channel is not None and self._transport is not None:
            waiting = self._channel.to_send()
            if waiting:
                self._write(self._transport, waiting)

    def _write(self, transport: asyncio.Transport, data: bytes) -> None:
        self._traffic.sent += len(data)
        transport.write(data)

    def _greet(self) -> None:
        options = self._owner.options
        self.send(
            encode_connect(
                client_id=options.client_id,
                username=options.username,
                password=options.password,
                keepalive_s=options.keepalive_s,
                clean_start=False,
                session_expiry_s=options.session_expiry_s,
                maximum_packet_bytes=_MAX_PACKET_BYTES,
            )
        )

    def _handle(self, packet: Packet) -> None:
        match packet:
            case Puback(packet_id, reason):
                self._owner.link_acknowledged(packet_id, reason)
            case Publish():
                self._owner.link_received(packet)
                if packet.packet_id is not None:
                    self.send(encode_puback(packet.packet_id))
            case Connack():
                self._welcome(packet)
            case Suback(_, reasons):
                self._subscribed(reasons)
            case Disconnect(reason):
                raise ConnectionLost(
                    f"the broker says goodbye: {reason_name(reason)}", reason=reason_name(reason)
                )
            case Pingresp() | Unsuback():
                pass

    def _welcome(self, answer: Connack) -> None:
        if is_failure(answer.reason):
            name = reason_name(answer.reason)
            raise ConnectionRefused(f"the broker refuses this client: {name}", reason=name)
        options = self._owner.options
        self.window = min(options.window, answer.receive_maximum)
        if answer.server_keepalive_s is not None:
            self._keepalive_s = float(answer.server_keepalive_s)
        self._session_present = answer.session_present
        self.most_packet_bytes = answer.maximum_packet_bytes
        if options.subscriptions:
            self.send(encode_subscribe(_SUBSCRIBE_ID, options.subscriptions))
        else:
            self._open()

    def _subscribed(self, reasons: tuple[int, ...]) -> None:
        options = self._owner.options
        refused = [reason_name(reason) for reason in reasons if is_failure(reason)]
        if refused and options.needs_all_subscriptions:
            raise ConnectionRefused(f"the broker refuses a subscription: {refused[0]}", reason=refused[0])
        wanted = zip(options.subscriptions, reasons, strict=False)
        self.refused_filters = tuple(one for (one, _), reason in wanted if is_failure(reason))
        self._open()

    def _open(self) -> None:
        self.online = True
        if self._keepalive_s:
            self._timer = self._loop.call_later(self._quiet_s, self._watch)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(self._session_present)

    def _watch(self) -> None:
        """Keep a quiet connection alive; give up on one whose broker has gone silent."""
        now = self._loop.time()
        if now - self._heard_at > self._keepalive_s * 1.5:
            self._lose(ConnectionLost("the broker has gone silent"))
            return
        due = min(self._heard_at, self._sent_at) + self._quiet_s
        if due <= now:
            self.send(encode_pingreq())
            due = now + self._quiet_s
        self._timer = self._loop.call_at(due, self._watch)

    @property
    def _quiet_s(self) -> float:
        return self._keepalive_s * self._owner.options.quiet_share

    def _quiet(self) -> None:
        self.online = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose(self, cause: IotisticError) -> None:
        was_online = self.online
        self.abandon()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(cause)
        elif was_online:
            self._owner.link_lost(self, cause)
