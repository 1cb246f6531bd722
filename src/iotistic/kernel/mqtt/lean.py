"""A client small enough to run ten thousand of it in one process, as devices do.

It keeps one connection alive and makes a new one, after a random wait that grows, whenever that is lost.
Messages of QoS 1 stay in the outbox until the broker acknowledges them, and are sent again on the next
connection, unless the owner takes them back first. What happens is told to a `Listener`, which all clients of a process may share.

    start -> wait for the gate -> connect (TCP, TLS, CONNACK, SUBACK) -> online -> lost -> back off -> ...

Invariants: at most one link at a time; a link that was given up says nothing to the client any more.
"""

import asyncio
import contextlib
import random
import ssl

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.lean_link import ConnectionLost, Link, LinkOptions
from iotistic.kernel.mqtt.lean_model import (
    Backoff,
    BrokerUnreachable,
    Gate,
    IdentityInvalid,
    Listener,
    Traffic,
)
from iotistic.kernel.mqtt.outbox import Outbox, Outgoing
from iotistic.kernel.mqtt.packets import Publish, encode_disconnect
from iotistic.kernel.mqtt.tls import TlsIdentities


class LeanClient:
    """One device's connection."""

    def __init__(
        self,
        options: LinkOptions,
        listener: Listener,
        *,
        tls: TlsIdentities | None = None,
        identity: bytes | None = None,
        gate: Gate | None = None,
        outbox_limit: int = 1000,
        backoff: Backoff | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.options = options
        self.traffic = Traffic()
        self._listener = listener
        self._tls, self._identity, self._gate = tls, identity, gate
        self._outbox = Outbox(limit=outbox_limit)
        self._backoff = backoff or Backoff()
        self._chance = chance or random.SystemRandom()
        self._link: Link | None = None
        self._attempt = 0
        self._connecting: asyncio.Task[None] | None = None
        self._pumping = False
        self._stopping = False
        self._empty: asyncio.Event | None = None

    @property
    def client_id(self) -> str:
        """The name the broker knows us by."""
        return self.options.client_id

    @property
    def is_online(self) -> bool:
        """Connected and subscribed."""
        return self._link is not None and self._link.online

    @property
    def refused_filters(self) -> tuple[str, ...]:
        """Subscriptions that the broker refused on this connection."""
        return self._link.refused_filters if self._link is not None else ()

    @property
    def most_packet_bytes(self) -> int | None:
        """Largest packet that the broker takes, None when it did not say; a larger one ends the connection."""
        return self._link.most_packet_bytes if self._link is not None else None

    @property
    def unacknowledged(self) -> int:
        """Messages promised and not acknowledged yet."""
        return len(self._outbox)

    def start(self) -> None:
        """Begin to connect, and stay connected until `stop`."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_properties: tuple[tuple[str, str], ...] = (),
        correlation: bytes = b"",
    ) -> bool:
        """Promise to deliver a message; False when too many wait already and this one was not taken."""
        return self.offer(Outgoing(topic, payload, qos, retain, user_properties, correlation))

    def offer(self, message: Outgoing) -> bool:
        """Do as `publish` does; `settled` tells of this very object."""
        if self._stopping or not self._outbox.offer(message):
            return False
        if not self._pumping and self.is_online:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)
        return True

    def take_back(self) -> list[Outgoing]:
        """Return what is promised and not acknowledged, oldest first; it is not sent (again) by this client."""
        return self._outbox.clear()

    def cut(self) -> None:
        """End the connection as a network does that goes away: without goodbye, and the listener hears of it."""
        link = self._link
        if link is not None:
            link.abandon()
            self.link_lost(link, ConnectionLost("the network went away"))

    async def stop(self, *, within_s: float = 5.0) -> int:
        """Wait until all is acknowledged, at most `within_s`; say goodbye. Returns what is left over."""
        self._stopping = True
        if self._outbox and self.is_online:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), within_s)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._link is not None:
            self._link.send(encode_disconnect())
            self._link.close()
            self._link = None
        return len(self._outbox)

    async def _connect(self) -> None:
        """Try until a link is online."""
        while not self._stopping:
            if self._attempt:
                await asyncio.sleep(self._backoff.wait_s(self._attempt - 1, self._chance))
            self._attempt += 1
            try:
                await self._connect_once()
            except IotisticError as exc:
                self._listener.offline(self, exc, lost=False)
            else:
                break
        self._connecting = None

    async def _connect_once(self) -> None:
        if self._gate is not None:
            await self._gate.enter()
        try:
            link = self._new_link()
            session_present = await self._establish(link)
        finally:
            if self._gate is not None:
                self._gate.leave()
        self._go_online(link, session_present=session_present)

    async def _establish(self, link: Link) -> bool:
        """Bring `link` online; tell whether the broker kept our session."""
        options = self.options
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: link, options.host, options.port)
                session_present = await link.until_online()
        except OSError as exc:
            raise BrokerUnreachable(f"no connection to the broker: {exc or 'it took too long'}") from exc
        finally:
            if not link.online:
                link.abandon()
        if not link.online:
            raise BrokerUnreachable("the broker ended the connection at once")
        return session_present

    def _new_link(self) -> Link:
        if self._tls is None:
            return Link(self, None)
        try:
            return Link(self, self._tls.open(self._identity, server_name=self.options.host))
        except ssl.SSLError as exc:
            raise IdentityInvalid(f"the certificate or its key cannot be used: {exc}") from exc

    def _go_online(self, link: Link, *, session_present: bool) -> None:
        self._link = link
        self._attempt = 0
        link.send(self._outbox.repeat(dup=session_present))
        self._listener.online(self)
        self._pump()

    def _pump(self) -> None:
        self._pumping = False
        link = self._link
        if link is not None and link.online and not link.congested:
            link.send(self._outbox.take(link.window))

    def link_received(self, message: Publish) -> None:
        """Called by the link: a message came."""
        self._listener.message(self, message)

    def link_acknowledged(self, packet_id: int, reason: int) -> None:
        """Called by the link: the broker answered for a message."""
        message = self._outbox.settle(packet_id)
        if message is None:
            return
        self._listener.settled(self, message, reason)
        if self._empty is not None and not self._outbox:
            self._empty.set()

    def link_ready(self) -> None:
        """Called by the link: acknowledgements came or the way is clear, more may be sent."""
        self._pump()

    def link_lost(self, link: Link, cause: IotisticError) -> None:
        """Called by the link: the connection that was online is gone."""
        if link is not self._link:
            return
        self._link = None
        self._attempt = 1
        if self._empty is not None:
            self._empty.set()
        self._listener.offline(self, cause, lost=True)
        if not self._stopping:
            self.start()
