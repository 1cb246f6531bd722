"""A subscriber that reads much at a time and acknowledges when it is told to.

It waits until something is there, lingers a few milliseconds so that more gathers, then drains the
socket in large reads. That makes both sides cheap: fewer wake-ups here, and larger writes in the broker.
Nothing is acknowledged before the caller says so, and then a whole delivery in one write.

Invariants:
- A delivery belongs to one connection; acknowledging it after that connection is gone does nothing,
  because the broker sends it again on the next one, and may use its packet ids for other messages.
- Whoever does not read says so (`pause`), so that the broker goes on hearing from us.
- The session outlives the connection (clean start is off), so what was not acknowledged comes again.
- What arrived before a connection broke is delivered before the break is reported: a broker that is
  killed may have acknowledged those messages to their publishers and know nothing of them any more.
"""

import asyncio
import contextlib
import socket
import ssl

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.bulk_login import BulkOptions, log_in
from iotistic.kernel.mqtt.bulk_outgoing import WOULD_BLOCK, Outgoing
from iotistic.kernel.mqtt.cutting import RawMessages, cut
from iotistic.kernel.mqtt.deliveries import Delivery, Receipt
from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.kernel.mqtt.lingering import Linger
from iotistic.kernel.mqtt.packets import (
    Disconnect,
    Packet,
    PacketReader,
    ProtocolError,
    Suback,
    Unsuback,
    encode_disconnect,
    encode_pingreq,
)
from iotistic.kernel.mqtt.reasons import is_failure, reason_name

_READ_BYTES = 1 << 20
_FLUSH_WITHIN_S = 2.0


class BulkSubscriber:
    """One connection to the broker at a time; `connect` again after BrokerUnavailable."""

    def __init__(self, options: BulkOptions) -> None:
        self._options = options
        self._scratch = memoryview(bytearray(_READ_BYTES))
        self._socket: socket.socket | None = None
        self._outgoing: Outgoing | None = None
        self._answered = False
        self._failure: IotisticError = BrokerUnavailable("not connected yet")
        self._connection = 0
        self._rest = b""
        self._rest_is_new = False
        self._packets = PacketReader()
        self._heard_at = 0.0
        self._pinged_at = 0.0
        self._linger = Linger(options.linger_s)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, not known to be broken, on which the broker took our subscriptions."""
        return self._socket is not None and self._answered

    async def connect(self) -> bool:
        """Connect and ask for the subscriptions; return whether the broker still had our session.

        Raises BrokerUnavailable (try again) or BrokerRefused (the credentials or rights are wrong).
        """
        self._drop(BrokerUnavailable("connecting anew"))
        connack, self._socket, self._rest = await asyncio.to_thread(log_in, self._options)
        self._rest_is_new = bool(self._rest)
        self._outgoing = Outgoing(self._socket)
        self._answered = False
        self._packets = PacketReader()
        self._connection += 1
        self._heard_at = self._pinged_at = asyncio.get_running_loop().time()
        return connack.session_present

    async def receive(self) -> Delivery:
        """Wait for messages and return them.

        Raises BrokerUnavailable when the connection has ended, BrokerRefused when a subscription was refused.
        """
        while True:
            if self._socket is None:
                raise self._failure
            if not self._rest_is_new:
                await self._wait_readable(self._socket)
                await asyncio.sleep(self._linger.pause_s)
            self._rest_is_new = False
            if parts := self._drain():
                delivery = Delivery(tuple(parts), self._connection)
                self._linger.saw(len(delivery), now=asyncio.get_running_loop().time())
                return delivery

    async def pause(self, until: asyncio.Event) -> None:
        """Read nothing until `until` is set; the broker would take our silence for death."""
        while not until.is_set():
            try:
                async with asyncio.timeout(self._options.keepalive_s / 4):
                    await until.wait()
            except TimeoutError:
                self._ping_when_due(asyncio.get_running_loop().time())

    def acknowledge(self, receipt: Receipt) -> None:
        """Send the PUBACKs of a delivery; does nothing when its connection is gone."""
        if receipt.connection == self._connection:
            self._send(receipt.pubacks())

    async def end_session(self) -> None:
        """Leave; the broker forgets the session and its subscriptions."""
        await self._leave(encode_disconnect(session_expiry_s=0))

    async def close(self) -> None:
        """Leave; the broker keeps the session."""
        await self._leave(encode_disconnect())

    def abandon(self) -> None:
        """Close the connection without a word."""
        self._drop(BrokerUnavailable("left the broker"))

    async def _leave(self, goodbye: bytes) -> None:
        if self._outgoing is not None:
            self._send(goodbye)
            await self._outgoing.flush(_FLUSH_WITHIN_S)
            await self._read_out(_FLUSH_WITHIN_S)
        self.abandon()

    async def _read_out(self, within_s: float) -> None:
        """Read and forget what still comes, until the broker closes.

        A socket closed with unread data resets the connection, and the broker may then never read the
        acknowledgements that are on their way to it; its own close says that it has.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while (sock := self._socket) is not None and loop.time() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._wait_readable(sock)
            self._read_some()

    def _send(self, octets: bytes) -> None:
        if self._outgoing is not None:
            self._outgoing.send(octets)

    def _drop(self, why: IotisticError) -> None:
        self._failure = why
        self._outgoing = None
        sock, self._socket = self._socket, None
        if sock is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock.fileno())
            loop.remove_writer(sock.fileno())
            sock.close()

    async def _wait_readable(self, sock: socket.socket) -> None:
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock.fileno(), _settle, readable)
        try:
            async with asyncio.timeout(self._options.keepalive_s / 4):
                await readable
        except TimeoutError:
            self._keep_alive(loop.time())
        finally:
            if self._socket is sock:
                loop.remove_reader(sock.fileno())

    def _keep_alive(self, now: float) -> None:
        if now - self._heard_at > self._options.keepalive_s * 1.5:
            self._drop(BrokerUnavailable("the broker has not been heard for a keep-alive and a half"))
        else:
            self._ping_when_due(now)

    def _ping_when_due(self, now: float) -> None:
        if now - self._pinged_at > self._options.keepalive_s / 2:
            self._pinged_at = now
            self._send(encode_pingreq())

    def _drain(self) -> list[RawMessages]:
        """Read all that is there, then cut once: a cut costs as much for three messages as for three hundred."""
        chunks: list[bytes] = []
        taken = 0
        while taken < self._options.drain_bytes and (octets := self._read_some()):
            chunks.append(octets)
            taken += len(octets)
        messages = self._cut(b"".join(chunks))
        return [messages] if messages is not None and len(messages) else []

    def _read_some(self) -> bytes:
        if self._socket is None:
            return b""
        try:
            count = self._socket.recv_into(self._scratch)
        except WOULD_BLOCK:
            return b""
        except OSError as exc:
            self._drop(BrokerUnavailable(f"the connection to the broker broke: {exc}"))
            return b""
        if not count:
            self._drop(BrokerUnavailable("the broker closed the connection"))
            return b""
        now = self._heard_at = asyncio.get_running_loop().time()
        self._keep_alive(now)
        return bytes(self._scratch[:count])

    def _cut(self, octets: bytes) -> RawMessages | None:
        data = self._rest + octets if self._rest else octets
        try:
            found = cut(data)
            self._rest = data[found.consumed :]
            for packet in self._packets.feed(found.others) if found.others else ():
                self._hear(packet)
        except ProtocolError as exc:
            self._drop(BrokerUnavailable(f"the broker broke the protocol: {exc}"))
            return None
        prefix = self._options.topic_prefix
        return found.messages.beyond(prefix) if prefix else found.messages

    def _hear(self, packet: Packet) -> None:
        if isinstance(packet, Disconnect):
            reason = packet.reason_text or reason_name(packet.reason)
            self._drop(BrokerUnavailable(f"the broker ended the connection: {reason}"))
        if isinstance(packet, Suback if self._options.filters else Unsuback):
            self._answered = True
        if isinstance(packet, Suback):
            for wanted, reason in zip(self._options.filters, packet.reasons, strict=False):
                if is_failure(reason):
                    self._drop(BrokerRefused(f"the broker refused {wanted}: {reason_name(reason)}"))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
