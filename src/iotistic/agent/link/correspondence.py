"""The agent's side of the delivery ledger: sends again what it asks for, forgets what it has stored.

Promises:
- What is sent again has the stamp that it had, and `again` names only what the broker has by then.
- Forgotten is only what was sent from this very disk: a message that waits is never forgotten, whatever a
  receipt says. After a disk was set back to an older copy, numbers in a receipt may mean other messages.
- When the ledger knows larger numbers than were given here, a new epoch begins: no number means two messages.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import LedgerDocumentInvalid
from iotistic.agent.link.filters import Handler
from iotistic.agent.link.ledger_documents import Receipt, Request, read_receipt, read_request, write_answer
from iotistic.agent.link.sending import Line
from iotistic.agent.store.outbox import Outbox
from iotistic.agent.store.outbox_rows import Message
from iotistic.agent.store.ranges import Range, joined
from iotistic.contracts.stamps import RECEIPT, RESEND, agent_reply_topic, agent_topic, stamp_data
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_AT_ONCE = 20
"""Messages sent again at once, so that new ones wait behind few old ones."""
_WITHIN_S = 60.0
_PAUSE_S = 5.0
_MOST_RECEIPTS = 16
_MOST_EPOCH = 10**14
"""Epochs are times, in seconds or milliseconds. A number beyond that would leave none for later ones."""


class Listening(Line, Protocol):
    """What is needed of a link."""

    def on(self, topic_filter: str, handler: Handler) -> None:
        """Let a handler hear messages."""
        ...


class Correspondence:
    """Of one device."""

    def __init__(self, outbox: Outbox, link: Listening, uuid: str) -> None:
        self._outbox, self._link, self._uuid = outbox, link, uuid
        self._request: Request | None = None
        self._receipts: dict[int, Receipt] = {}
        self._above = 0
        self._woken = asyncio.Event()
        link.on(agent_topic(uuid, RESEND), self._asked)
        link.on(agent_topic(uuid, RECEIPT), self._told)

    def look(self) -> None:
        """Look again at receipts that could not be followed whole: more was sent since."""
        if self._receipts:
            self._woken.set()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._follow_receipts()
                if self._request is not None:
                    request, self._request = self._request, None
                    await self._answer(request)
            except IotisticError as exc:  # the ledger asks again
                log.warning("ledger.not_answered", code=exc.code, reason=exc.message)
                await asyncio.sleep(_PAUSE_S)

    def _asked(self, topic: str, payload: bytes) -> None:
        self._read(topic, payload, self._take_request)

    def _told(self, topic: str, payload: bytes) -> None:
        self._read(topic, payload, self._take_receipt)

    def _read(self, topic: str, payload: bytes, take: Callable[[bytes], None]) -> None:
        try:
            take(payload)
        except LedgerDocumentInvalid as exc:
            log.warning("ledger.document_refused", topic=topic, code=exc.code, reason=exc.message)
        else:
            self._woken.set()

    def _take_request(self, payload: bytes) -> None:
        self._request = read_request(payload)  # a newer one replaces one that waits

    def _take_receipt(self, payload: bytes) -> None:
        receipt = read_receipt(payload)
        self._receipts.pop(receipt.epoch, None)
        self._receipts[receipt.epoch] = receipt
        if len(self._receipts) > _MOST_RECEIPTS:
            self._receipts.pop(next(iter(self._receipts)))

    async def _follow_receipts(self) -> None:
        for receipt in list(self._receipts.values()):
            if await self._forget(receipt) and self._receipts.get(receipt.epoch) is receipt:
                del self._receipts[receipt.epoch]

    async def _forget(self, receipt: Receipt) -> bool:
        """Forget what is stored; tell whether nothing of the receipt is left to be done."""
        if await self._is_behind(receipt.epoch, receipt.sent):
            return True
        waiting = await self._outbox.waiting(1)
        up_to = receipt.sent
        if waiting and waiting[0].stamp.epoch <= receipt.epoch:
            first = waiting[0].stamp
            up_to = min(up_to, first.sequence - 1) if first.epoch == receipt.epoch else 0
        if up_to:
            removed = await self._outbox.confirm_up_to(receipt.epoch, up_to, receipt.missing)
            log.debug("outbox.messages_confirmed", messages=removed, epoch=receipt.epoch)
        return up_to == receipt.sent

    async def _is_behind(self, epoch: int, number: int) -> bool:
        """Say whether the ledger knows larger numbers of an epoch than we do; go on above them then."""
        if number <= await self._outbox.last(epoch):
            return False
        standing = await self._outbox.standing()
        if epoch < standing.epoch or epoch <= self._above:
            return True
        if epoch > _MOST_EPOCH:
            log.warning("ledger.epoch_unbelievable", epoch=epoch)
            return True
        log.warning("outbox.numbers_behind", epoch=epoch, known=number)
        await self._outbox.begin_epoch(above=epoch)
        self._above = epoch
        return True

    async def _answer(self, request: Request) -> None:
        await self._is_behind(request.epoch, max((last for _, last in request.ranges), default=0))
        again: list[int] = []
        gone: list[Range] = []
        waiting: list[Range] = []
        for part in _parts(request.ranges):
            found = await self._outbox.again(request.epoch, part, limit=_AT_ONCE)
            again += await self._send_again(found.messages)
            gone += found.gone
            waiting += found.waiting
        answer = write_answer(request.epoch, again=joined(again), gone=gone, waiting=waiting)
        log.info("ledger.answered", epoch=request.epoch, again=len(again), gone=len(gone))
        answered = self._link.send(agent_reply_topic(self._uuid), answer, Purpose.CONTROL)
        await self._wait([answered])

    async def _send_again(self, messages: Iterable[Message]) -> list[int]:
        """Send messages; return the numbers of those that the broker has."""
        under_way = {
            message.stamp.sequence: self._link.send(
                message.topic,
                message.payload,
                Purpose.TELEMETRY,
                correlation=stamp_data(*message.stamp),
            )
            for message in messages
        }
        await self._wait(list(under_way.values()))
        return [number for number, answer in under_way.items() if _succeeded(answer)]

    async def _wait(self, answers: list[asyncio.Future[None]]) -> None:
        """Wait for answers; what takes too long is given up."""
        try:
            if answers:
                await asyncio.wait(answers, timeout=_WITHIN_S)
        finally:
            for answer in answers:
                answer.cancel()


def _succeeded(answer: asyncio.Future[None]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def _parts(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Yield ranges in parts of at most so many messages as are sent at once."""
    part: list[Range] = []
    room = _AT_ONCE
    for first, last in ranges:
        begin = first
        while begin <= last:
            end = min(last, begin + room - 1)
            part.append((begin, end))
            room -= end - begin + 1
            begin = end + 1
            if not room:
                yield part
                part, room = [], _AT_ONCE
    if part:
        yield part
