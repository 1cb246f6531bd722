"""Many F2 controllers in one process, each with its own connection, publishing evenly over time.

One loop does the rounds of all of them in turn, rather than ten thousand timers. A device that was online
once goes on measuring while its connection is away, as a real one does, until it can keep back no more.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import structlog

from iotistic.contracts.f2 import command_filter
from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.mqtt.lean_model import Backoff
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.simulation.f2.catch_up import AT_ONCE, CatchUp
from iotistic.simulation.f2.controller import Controller, PayloadFormat
from iotistic.simulation.f2.kept import Kept
from iotistic.simulation.f2.member import Member, Parcel
from iotistic.simulation.f2.pace import ConnectGate, Pace
from iotistic.simulation.f2.tally import Tally

_FIRST_MAC = 0xAABBCCDDEE01
_TICK_S = 0.02
_LOOK_EVERY_S = 0.2
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
    session_expiry_s: int = 3600
    """How long the broker keeps commands for a controller that is away."""
    stamps: bool = True
    """Number messages, keep them until the ledger confirms them, and send them again when asked."""
    outbox: int | None = None
    """Messages that one controller keeps back while its connection is away; unset means a share of 300,000,
    at least 40, at most 1,000. What finds no room is skipped."""
    ask_above: int | None = AT_ONCE
    """After an outage more than so many messages wait until they are granted; None: nobody is asked."""
    ask_pause_s: float = 5.0
    """Wait for an answer before asking again, the first time; it doubles."""


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
        self._seen_to = -1
        self._gate = ConnectGate(per_second=plan.connects_per_s, at_once=plan.connects_at_once)
        self._chance = random.Random(plan.seed)
        self._outbox_limit = plan.outbox or _share(_HELD_BY_ONE, _HELD_IN_ALL, len(identities))
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
        looked_at = loop.time()
        while not until.is_set():
            pace.pass_time(loop.time())
            # A bounded turn keeps acknowledgements flowing in between.
            turn_ends_at = loop.time() + _TICK_S
            while pace.due and loop.time() < turn_ends_at:
                pace.spend(self._round(members[turn]))
                turn = (turn + 1) % len(members)
            looked_at, passed_s = loop.time(), loop.time() - looked_at
            self._catch_up(members, min(1.0, passed_s / _LOOK_EVERY_S))
            await asyncio.sleep(_TICK_S / 4 if pace.due and self.tally.connected else _TICK_S)

    async def measure_all(self) -> None:
        """Let every controller measure once, beyond its pace."""
        for member in self._members.values():
            self._round(member)
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Take the network away from all controllers, until `restore`."""
        self._gate.close()
        for member in self._members.values():
            member.client.cut()

    def restore(self) -> None:
        """Give the network back."""
        self._gate.open()

    def _round(self, member: Member) -> int:
        """Let one controller measure; return how many messages that made."""
        if not member.was_online:
            return 0
        messages = member.controller.round(self._now_us())
        member.publish(messages)
        return len(messages)

    def _catch_up(self, members: list[Member], share: float) -> None:
        """Let the next ones of those that keep something back see what time it is.

        A share at a time: what thousands have to say at once would keep new readings waiting behind it.
        """
        now_s = asyncio.get_running_loop().time()
        for _ in range(math.ceil(share * len(members))):
            self._seen_to = (self._seen_to + 1) % len(members)
            member = members[self._seen_to]
            if member.catch_up.busy:
                member.take(member.catch_up.act(now_s))

    def _member(self, mac: Mac, identity: bytes, tls: TlsIdentities) -> Member:
        plan = self._plan
        options = LinkOptions(
            host=plan.broker_host,
            port=plan.broker_port,
            client_id=mac,
            keepalive_s=plan.keepalive_s,
            session_expiry_s=plan.session_expiry_s,
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
        kept = Kept(self._epoch, limit=self._kept_limit, stamped=plan.stamps)
        catch_up = CatchUp(self._chance, ask_above=plan.ask_above, first_pause_s=plan.ask_pause_s)
        return Member(controller, client, kept, catch_up, limit=self._outbox_limit, tally=self.tally)

    def _of(self, client: LeanClient) -> Member:
        return self._members[Mac(client.client_id)]

    def online(self, client: LeanClient) -> None:
        """Let a controller work; one that comes back measures at once."""
        member = self._of(client)
        again = member.was_online
        member.online(asyncio.get_running_loop().time())
        if again:
            self._round(member)

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        """Count a lost connection or a failed attempt."""
        if lost:
            self.tally.connected -= 1
            self._of(client).lost()
        self.tally.connection_failures[cause.code] += 1
        self.tally.last_failure = cause.message
        log.debug("controller.disconnected", mac=client.client_id, code=cause.code, reason=cause.message)

    def settled(self, client: LeanClient, message: Outgoing, reason: int) -> None:
        """Pass on an acknowledgement or a refusal."""
        # Members send nothing but parcels.
        self._of(client).settled(cast("Parcel", message), reason, asyncio.get_running_loop().time())

    def message(self, client: LeanClient, message: Publish) -> None:
        """Obey a command and publish the answer; refuse what is none."""
        member = self._of(client)
        loop = asyncio.get_running_loop()
        try:
            if member.hear(message, loop.time()):
                return
            answer = member.controller.obey(message.topic, message.payload, self._now_us())
        except Invalid as exc:
            self.tally.commands_refused[exc.code] += 1
            log.warning("command.refused", mac=client.client_id, code=exc.code, reason=exc.message)
            return
        self.tally.commands += 1
        member.publish(answer.messages)
        if answer.again_after_s:
            loop.call_later(answer.again_after_s + _TICK_S, self._tell_events, member)

    def _tell_events(self, member: Member) -> None:
        member.publish(member.controller.events(self._now_us()))
