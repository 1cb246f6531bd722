"""Many F2 controllers in one process, each with its own connection, publishing evenly over time.

One loop does the rounds of all of them in turn, rather than ten thousand timers. A device that was online
once goes on measuring while its connection is away, as a real one does, until its outbox is full.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from iotistic.contracts.delivery import encode, parse_confirmation, parse_request, reply_topic
from iotistic.contracts.f2 import command_filter
from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.mqtt.lean_model import Backoff
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.reasons import is_failure, reason_name
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.simulation.f2.controller import Controller, Message, PayloadFormat
from iotistic.simulation.f2.kept import Kept, Stamp
from iotistic.simulation.f2.pace import ConnectGate, Pace
from iotistic.simulation.f2.tally import Tally

_FIRST_MAC = 0xAABBCCDDEE01
_TICK_S = 0.02
_LEDGER_SLASHES = 2  # cmnd/f2-<mac>/resend; commands to components are longer
_HELD_IN_ALL = 300_000
_HELD_BY_ONE = (40, 1000)
_KEPT_IN_ALL = 200_000
_KEPT_BY_ONE = (20, 2000)

log = structlog.get_logger()


def _share(by_one: tuple[int, int], in_all: int, members: int) -> int:
    """Return how many messages one member may hold: between two bounds, less the more members there are."""
    fewest, most = by_one
    return max(fewest, min(most, in_all // max(1, members)))


def controller_mac(number: int) -> Mac:
    """Return the MAC of simulated controller `number`: aa:bb:cc:dd:ee:01 is number 0."""
    return Mac(f"{_FIRST_MAC + number:012x}")


@dataclass(frozen=True)
class FleetPlan:
    """What a fleet does. `interval_s` is between two measurements of a sensor; `rate` (messages/s in all) replaces it."""

    broker_host: str
    broker_port: int
    interval_s: float = 5.0
    rate: float | None = None
    payload_format: PayloadFormat = PayloadFormat.MODBUS
    seed: int = 1
    connects_per_s: float = 1000.0
    connects_at_once: int = 64
    keepalive_s: int = 60
    stamps: bool = True
    """Number messages, keep them until the ledger confirms them, and send them again when asked."""


class _Member:
    """One controller with its connection."""

    __slots__ = ("client", "controller", "kept", "was_online")

    def __init__(self, controller: Controller, client: LeanClient, kept: Kept | None) -> None:
        self.controller = controller
        self.client = client
        self.kept = kept
        self.was_online = False


class Fleet:
    """Controllers with one identity (key and certificate, PEM) each."""

    def __init__(
        self,
        plan: FleetPlan,
        identities: Mapping[Mac, bytes],
        tls: TlsIdentities,
        *,
        tally: Tally | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._plan = plan
        self._now_us = now_us
        self.tally = tally or Tally()
        self.tally.controllers = len(identities)
        self._gate = ConnectGate(per_second=plan.connects_per_s, at_once=plan.connects_at_once)
        self._chance = random.Random(plan.seed)
        self._outbox_limit = _share(_HELD_BY_ONE, _HELD_IN_ALL, len(identities))
        self._epoch = now_us() // 1000
        self._kept_limit = _share(_KEPT_BY_ONE, _KEPT_IN_ALL, len(identities))
        self._members = {mac: self._member(mac, identity, tls) for mac, identity in identities.items()}

    async def run(self, until: asyncio.Event) -> None:
        """Connect all, publish until `until` is set, then wait for acknowledgements and say goodbye."""
        self.tally.connecting_since = time.monotonic()
        for member in self._members.values():
            member.client.start()
        try:
            await self._publish(until)
        finally:
            await self.stop()

    async def stop(self, *, within_s: float = 5.0) -> None:
        """Drain and disconnect all."""
        clients = [member.client for member in self._members.values()]
        await asyncio.gather(*(client.stop(within_s=within_s) for client in clients))

    async def _publish(self, until: asyncio.Event) -> None:
        plan, members = self._plan, list(self._members.values())
        pace = Pace(rounds_per_s=len(members) / plan.interval_s, messages_per_s=plan.rate)
        loop = asyncio.get_running_loop()
        turn = 0
        while not until.is_set():
            pace.pass_time(loop.time())
            # A bounded turn keeps acknowledgements flowing in between.
            turn_ends_at = loop.time() + _TICK_S
            while pace.due and loop.time() < turn_ends_at:
                pace.spend(self._round(members[turn]))
                turn = (turn + 1) % len(members)
            await asyncio.sleep(_TICK_S / 4 if pace.due and self.tally.connected else _TICK_S)

    def _round(self, member: _Member) -> int:
        """Let one controller measure; return how many messages that made."""
        if not member.was_online:
            return 0
        messages = member.controller.round(self._now_us())
        self._send(member, messages)
        return len(messages)

    def _send(self, member: _Member, messages: list[Message]) -> None:
        kept = member.kept
        for topic, payload in messages:
            stamp = kept.next_stamp if kept is not None else ()
            if not self._offer(member, topic, payload, stamp):
                self.tally.skipped += 1
            elif kept is not None:
                kept.sent(topic, payload)

    def _offer(self, member: _Member, topic: bytes, payload: bytes, stamp: Stamp) -> bool:
        taken = member.client.publish(topic, payload, user_properties=stamp)
        self.tally.published += taken
        return taken

    def _member(self, mac: Mac, identity: bytes, tls: TlsIdentities) -> _Member:
        plan = self._plan
        options = LinkOptions(
            host=plan.broker_host,
            port=plan.broker_port,
            client_id=mac,
            keepalive_s=plan.keepalive_s,
            subscriptions=((command_filter(mac), 1),),
        )
        client = LeanClient(
            options,
            self,
            tls=tls,
            identity=identity,
            gate=self._gate,
            outbox_limit=self._outbox_limit,
            backoff=Backoff(),
            chance=self._chance,
        )
        controller = Controller(mac, seed=plan.seed, payload_format=plan.payload_format)
        kept = Kept(self._epoch, limit=self._kept_limit) if plan.stamps else None
        return _Member(controller, client, kept)

    def _of(self, client: LeanClient) -> _Member:
        return self._members[Mac(client.client_id)]

    def online(self, client: LeanClient) -> None:
        """Count a connection; the controller works from now on."""
        member = self._of(client)
        self.tally.connected_one(again=member.was_online)
        member.was_online = True

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        """Count a lost connection or a failed attempt."""
        if lost:
            self.tally.connected -= 1
        self.tally.connection_failures[cause.code] += 1
        self.tally.last_failure = cause.message
        log.debug("controller.disconnected", mac=client.client_id, code=cause.code, reason=cause.message)

    def settled(self, client: LeanClient, message: Outgoing, reason: int) -> None:
        """Count an acknowledgement or a refusal."""
        if (kept := self._of(client).kept) is not None:
            kept.settled(message.user_properties)
        if is_failure(reason):
            self.tally.refused[reason_name(reason)] += 1
            log.debug(
                "message.refused", mac=client.client_id, topic=message.topic, reason=reason_name(reason)
            )
        else:
            self.tally.acknowledged += 1

    def message(self, client: LeanClient, message: Publish) -> None:
        """Obey a command and publish the answer; refuse what is none."""
        member = self._of(client)
        try:
            if self._hear_ledger(member, message):
                return
            answer = member.controller.obey(message.topic, message.payload, self._now_us())
        except Invalid as exc:
            self.tally.commands_refused[exc.code] += 1
            log.warning("command.refused", mac=client.client_id, code=exc.code, reason=exc.message)
            return
        self.tally.commands += 1
        self._send(member, answer.messages)
        if answer.again_after_s:
            asyncio.get_running_loop().call_later(answer.again_after_s + _TICK_S, self._tell_events, member)

    def _hear_ledger(self, member: _Member, message: Publish) -> bool:
        """Act on a message about deliveries; tell whether it was one. Raises DeliveryMessageInvalid."""
        kept = member.kept
        verb = message.topic.rpartition(b"/")[2]
        if kept is None or message.topic.count(b"/") != _LEDGER_SLASHES:
            return False
        if verb == b"receipt":
            self.tally.confirmed += kept.confirmed(parse_confirmation(message.payload))
            return True
        if verb != b"resend":
            return False

        def send(topic: bytes, payload: bytes, stamp: Stamp) -> bool:
            return self._offer(member, topic, payload, stamp)

        answer, count = kept.answer(parse_request(message.payload), send)
        self.tally.resend_requests += 1
        self.tally.resent += count
        topic = reply_topic(member.controller.mac).encode()
        if not self._offer(member, topic, encode(answer), ()):
            self.tally.skipped += 1
        return True

    def _tell_events(self, member: _Member) -> None:
        self._send(member, member.controller.events(self._now_us()))
