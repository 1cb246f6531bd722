"""The agent's connection to its broker.

    send -> waits here -> (online) handed to the client -> PUBACK -> the answer is set
              '--<-- (connection lost) --<--'

Promises:
- An answer is set once the broker has the message (QoS 1), and not before: `publish` returns then.
- What waits goes out in the order in which it was sent, over lost connections and changes of the broker too;
  after a lost connection a message may go out twice.
- A message that no broker can take fails by itself, and costs neither others nor the connection.

Nothing is kept on disk here: what has to outlive the process stands in the outbox.
"""

import asyncio
from collections.abc import Callable

import structlog

from iotistic.agent.link.broker import BrokerAddress
from iotistic.agent.link.budget import Budget, Purpose
from iotistic.agent.link.connecting import Surroundings, make_client
from iotistic.agent.link.doors import Door
from iotistic.agent.link.errors import (
    BrokerUnusable,
    MqttOffline,
    MqttPublishRefused,
    MqttUnanswered,
    MqttUnheard,
    MqttUnsendable,
)
from iotistic.agent.link.filters import Handler, Handlers
from iotistic.agent.link.parcels import Parcel, Parcels, check, fits
from iotistic.agent.link.round_trips import RoundTrips
from iotistic.agent.link.tolls import Tolls
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import ConnectionRefused
from iotistic.kernel.mqtt.lean_model import IdentityInvalid
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.reasons import NO_MATCHING_SUBSCRIBERS, is_failure, reason_name

log = structlog.get_logger()

_DEFAULT_WITHIN_S = 30.0


class MqttLink:
    """One device's. `find` says where the broker is now, None while nobody knows; it may raise BrokerUnusable."""

    def __init__(
        self,
        find: Callable[[], BrokerAddress | None],
        budget: Budget | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self._find, self._around = find, around or Surroundings()
        self.budget = budget or Budget()
        self._parcels = Parcels(self._around.most_waiting)
        self._handlers = Handlers()
        self._watchers: list[Callable[[bool], None]] = []
        self._renewed = asyncio.Event()
        self._is_outdated = False
        self._client: LeanClient | None = None
        self._door: Door | None = None
        self._at: BrokerAddress | None = None
        self._tolls = Tolls(self.budget)
        self.round_trips = RoundTrips(self._around.clock)
        self._failures = 0
        self._heard_at = 0.0

    @property
    def is_online(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._client is not None and self._client.is_online

    def is_at(self, address: BrokerAddress) -> bool:
        """Whether there is a connection to this broker."""
        return self.is_online and self._at == address

    def on(self, topic_filter: str, handler: Handler) -> None:
        """Let `handler(topic, payload)` hear messages; it returns soon.

        A connection that stands is made anew, so that the broker knows of the filter.
        """
        self._handlers.add(topic_filter, handler)
        self._is_outdated = True
        self._renewed.set()

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Let `watcher` hear whenever the connection comes (True) and goes (False)."""
        self._watchers.append(watcher)

    def renew(self) -> None:
        """Look again where the broker is, and as whom to speak; connect anew if that changed."""
        self._renewed.set()

    def send(
        self,
        topic: str,
        payload: bytes,
        purpose: Purpose,
        *,
        qos: int = 1,
        correlation: bytes = b"",
    ) -> asyncio.Future[None]:
        """Send as soon as there is a connection; the answer is set once the broker has it. Cancel it to give up.

        The answer raises MqttPublishRefused, MqttUnheard or MqttUnsendable, and MqttOffline when too much waits.
        """
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_look_at)
        try:
            written = check(topic)
        except MqttUnsendable as exc:
            answer.set_exception(exc)
            return answer
        if self._parcels.is_full or (not qos and not self.is_online):
            answer.set_exception(MqttOffline())
            return answer
        parcel = Parcel(written, payload, qos, correlation=correlation, answer=answer, purpose=purpose)
        self._parcels.keep(parcel)
        if self._client is not None and self.is_online:
            if qos and len(self._parcels) == 1:
                self.round_trips.watch(answer)
            self._hand_over(self._client, parcel)
        return answer

    async def publish(
        self,
        topic: str,
        payload: bytes,
        purpose: Purpose,
        *,
        qos: int = 1,
        correlation: bytes = b"",
        within_s: float = _DEFAULT_WITHIN_S,
    ) -> None:
        """Return once the broker has the message. Raises what `send` does, MqttOffline and MqttUnanswered."""
        began = self._around.clock()
        answer = self.send(topic, payload, purpose, qos=qos, correlation=correlation)
        try:
            async with asyncio.timeout(within_s):
                await answer
        except TimeoutError:
            if not self.is_online:
                raise MqttOffline from None
            self._doubt(since=began)
            raise MqttUnanswered from None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                self._renewed.clear()
                self._is_outdated = False
                address = self._where()
                self._enter(address)
                await self._until_elsewhere(address)
                await self._leave()
        finally:
            await self._leave()

    def _where(self) -> BrokerAddress | None:
        try:
            return self._find()
        except BrokerUnusable as exc:
            log.warning("mqtt.broker_unusable", code=exc.code, reason=exc.message, hint=exc.hint)
            return None

    def _enter(self, address: BrokerAddress | None) -> None:
        if address is None:
            return
        try:
            self._client, self._door = make_client(address, self._handlers.subscriptions, self, self._around)
        except BrokerUnusable as exc:
            log.warning("mqtt.broker_unusable", code=exc.code, reason=exc.message, hint=exc.hint)
            return
        self._failures, self._at = 0, address
        self._tolls.begin(self._client.traffic)
        self._client.start()

    async def _until_elsewhere(self, address: BrokerAddress | None) -> None:
        while not self._is_outdated and self._where() == address:
            await self._renewed.wait()
            self._renewed.clear()

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        was_online = client.is_online
        client.take_back()  # it stands in `_parcels` too, as long as somebody waits for it
        await client.stop(within_s=0)
        self._tolls.settle()
        if was_online:
            self._tell(online=False)

    def _hand_over(self, client: LeanClient, parcel: Parcel) -> None:
        if not fits(parcel, client.most_packet_bytes):
            parcel.answer.set_exception(
                MqttUnsendable(f"the broker takes packets of at most {client.most_packet_bytes} bytes")
            )
        elif not client.offer(parcel):
            parcel.answer.set_exception(MqttOffline("too much waits for the broker"))
        else:
            self._tolls.sent(parcel.purpose, parcel.bytes)
            if not parcel.qos:
                parcel.answer.set_result(None)

    def _doubt(self, *, since: float) -> None:
        """Give up a connection on which nothing at all was heard while an answer was due."""
        if self._client is not None and self._heard_at < since:
            log.info("mqtt.connection_doubted")
            self._client.cut()

    def _tell(self, *, online: bool) -> None:
        for watcher in self._watchers:
            watcher(online)

    # What the client tells; see kernel/mqtt/lean_model.Listener.

    def online(self, client: LeanClient) -> None:
        """The client is connected: what waits goes out."""
        if client is not self._client or self._door is None:
            return
        self._failures = 0
        self._door.welcomed()
        log.info("mqtt.connected", host=client.options.host, port=client.options.port)
        if client.refused_filters:
            log.warning("mqtt.subscription_refused", filters=list(client.refused_filters))
        for parcel in self._parcels:
            self._hand_over(client, parcel)
        self._tell(online=True)

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        """The connection is lost, or an attempt failed; the client goes on trying."""
        if client is not self._client or self._door is None:
            return
        self._tolls.settle()
        if lost:
            client.take_back()
            self._door.lost()
            log.warning("mqtt.connection_lost", code=cause.code, reason=cause.message)
            self._tell(online=False)
            return
        if isinstance(cause, ConnectionRefused | IdentityInvalid):
            self._door.refused()
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.warning("mqtt.not_connected", code=cause.code, reason=cause.message, failures=self._failures)

    def message(self, client: LeanClient, message: Publish) -> None:
        """A message came."""
        self._heard_at = self._around.clock()
        if client is self._client:
            self._handlers.hear(message.topic, message.payload)

    def settled(self, client: LeanClient, message: Outgoing, reason: int) -> None:  # noqa: ARG002
        """The broker answered for a message."""
        self._heard_at = self._around.clock()
        if not isinstance(message, Parcel):
            return
        self._tolls.answered(message.purpose)
        if not message.answer.done():
            _answer(message, reason)


def _answer(parcel: Parcel, reason: int) -> None:
    topic, name = parcel.topic.decode(), reason_name(reason)
    if is_failure(reason):
        parcel.answer.set_exception(
            MqttPublishRefused(f"the broker refused a message: {name}", reason=name, topic=topic)
        )
    elif reason == NO_MATCHING_SUBSCRIBERS:
        parcel.answer.set_exception(MqttUnheard(topic=topic))
    else:
        parcel.answer.set_result(None)


def _look_at(answer: asyncio.Future[None]) -> None:
    """Look at an answer, so that one that nobody awaits any more is not complained about."""
    if not answer.cancelled():
        answer.exception()
