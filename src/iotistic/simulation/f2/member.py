"""One controller of a fleet: what it measures, keeps and lets go, over its own connection.

While its connection is away it goes on measuring, and keeps that back together with what was under way.
New readings go out at once when it is connected; what is kept back goes as `CatchUp` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import cast

from iotistic.contracts.backlog import PREFIX, Ask, ask_topic, parse_grant
from iotistic.contracts.backlog import encode as encode_ask
from iotistic.contracts.delivery import encode, parse_confirmation, parse_request, reply_topic
from iotistic.contracts.mac import Mac
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.reasons import is_failure, reason_name
from iotistic.simulation.f2.catch_up import CatchUp, Step, Turn
from iotistic.simulation.f2.controller import Controller, Message
from iotistic.simulation.f2.kept import Kept
from iotistic.simulation.f2.tally import Tally

_VERB_SLASHES = 2  # cmnd/f2-<mac>/resend; commands to components are longer
_PREFIX = PREFIX.encode()


class Why(Enum):
    """What a message on its way out is."""

    NEW = "new"
    KEPT_BACK = "kept back"
    ASKED_FOR = "asked for by the ledger"
    NOTE = "about messages"


@dataclass(frozen=True, slots=True)
class Parcel(Outgoing):
    """A message on its way out, with its number; notes have none."""

    number: int = 0
    why: Why = Why.NOTE


class Member:
    """One controller with its connection. `limit` bounds what is kept back."""

    __slots__ = ("_limit", "_tally", "catch_up", "client", "controller", "kept", "was_online")

    def __init__(
        self,
        controller: Controller,
        client: LeanClient,
        kept: Kept,
        catch_up: CatchUp,
        *,
        limit: int,
        tally: Tally,
    ) -> None:
        self.controller = controller
        self.client = client
        self.kept = kept
        self.catch_up = catch_up
        self.was_online = False
        self._limit = limit
        self._tally = tally

    @property
    def mac(self) -> Mac:
        """Who it is."""
        return self.controller.mac

    def publish(self, messages: Iterable[Message]) -> None:
        """Send new messages, or keep them back while there is no connection; skip what finds no room."""
        for topic, payload in messages:
            if self.catch_up.step is Step.AWAY:
                taken = self._keep_back(topic, payload)
            else:
                taken = self._send_new(topic, payload)
            self._tally.published += taken
            self._tally.skipped += not taken

    def online(self, now_s: float) -> None:
        """The connection is there."""
        self._tally.connected_one(again=self.was_online)
        self.was_online = True
        self.take(self.catch_up.back(now_s))

    def lost(self) -> None:
        """The connection is gone: take back what the broker has not acknowledged."""
        under_way: list[int] = []
        for message in cast("list[Parcel]", self.client.take_back()):
            if message.why is Why.ASKED_FOR:  # it was stored or lost before: the ledger asks again
                self.kept.settled(message.number)
                self._tally.published -= 1
            elif message.why is not Why.NOTE:
                under_way.append(message.number)
        before = len(self.catch_up)
        self.catch_up.lost(under_way)
        self._tally.kept_back += len(self.catch_up) - before

    def settled(self, message: Parcel, reason: int, now_s: float) -> None:
        """The broker answered for a message."""
        late = message.why is Why.KEPT_BACK
        if is_failure(reason) and late and message.topic.startswith(_PREFIX):
            self._tally.kept_back += 1
            self._tally.lane_refused += 1
            self.take(self.catch_up.refused(message.number))
            return
        if message.why is not Why.NOTE:
            self.kept.settled(message.number)
            self._tally.acknowledged += not is_failure(reason)
        if is_failure(reason):
            self._tally.refused[reason_name(reason)] += 1
        if late:
            self._tally.caught_up += not is_failure(reason)
            self.take(self.catch_up.settled(now_s))

    def hear(self, message: Publish, now_s: float) -> bool:
        """Act on a message about messages; tell whether it was one. Raises Invalid for what makes no sense."""
        if message.topic.count(b"/") != _VERB_SLASHES:
            return False
        match message.topic.rpartition(b"/")[2]:
            case b"receipt":
                self._tally.confirmed += self.kept.confirmed(parse_confirmation(message.payload))
            case b"resend":
                self._send_again(message.payload)
            case b"signed-receipt":
                self._tally.receipts += 1
            case b"backlog":
                answer = parse_grant(message.payload)
                self._tally.granted += answer.grant
                self._tally.put_off += not answer.grant
                self.take(self.catch_up.hear(answer, now_s))
            case _:
                return False
        return True

    def take(self, turn: Turn) -> None:
        """Do what is to be done about what is kept back."""
        for place, number in enumerate(turn.numbers):
            topic, payload = self.kept.message(number)
            topic = _PREFIX + topic if turn.granted else topic
            if not self._offer(topic, payload, number, Why.KEPT_BACK):
                self.catch_up.not_taken(turn, len(turn.numbers) - place)
                break
            self._tally.kept_back -= 1
        if turn.waiting is not None:
            self._tally.asked += 1
            self._note(ask_topic(self.mac), encode_ask(Ask(turn.waiting)))

    def _keep_back(self, topic: bytes, payload: bytes) -> bool:
        if len(self.catch_up) >= self._limit:
            return False
        self.catch_up.keep(self.kept.add(topic, payload))
        self._tally.kept_back += 1
        return True

    def _send_new(self, topic: bytes, payload: bytes) -> bool:
        taken = self._offer(topic, payload, self.kept.next_number, Why.NEW)
        if taken:
            self.kept.add(topic, payload)
        return taken

    def _send_again(self, payload: bytes) -> None:
        def send(number: int) -> bool:
            return self._offer(*self.kept.message(number), number, Why.ASKED_FOR)

        answer, count = self.kept.answer(parse_request(payload), send, set(self.catch_up.numbers))
        self._tally.resend_requests += 1
        self._tally.resent += count
        self._tally.published += count
        self._note(reply_topic(self.mac), encode(answer))

    def _note(self, topic: str, payload: bytes) -> None:
        """Send something that is worth nothing later: whoever misses it asks again."""
        self.client.offer(Parcel(topic.encode(), payload))

    def _offer(self, topic: bytes, payload: bytes, number: int, why: Why) -> bool:
        stamp = self.kept.stamp(number)
        return self.client.offer(Parcel(topic, payload, correlation=stamp, number=number, why=why))
