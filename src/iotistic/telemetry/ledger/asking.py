"""What goes to senders: requests to send again, and what they may forget; and what they answer.

Bounded on every side: so many senders a round, so many messages a request, pauses that double while a
sender does not answer, and an end to asking. What a sender answers changes only what is noted about its
own gaps.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import asyncpg
import structlog

from iotistic.contracts import delivery
from iotistic.contracts.delivery import (
    MOST_ASKED,
    MOST_RANGES,
    Confirmation,
    DeliveryMessageInvalid,
    ResendRequest,
)
from iotistic.kernel.errors import Denied, Unavailable
from iotistic.telemetry.ledger.metrics import ANSWERS, ASKED, CONFIRMED
from iotistic.telemetry.ledger.model import Span, bounded, pairs
from iotistic.telemetry.ledger.repository import Answer, LedgerRepository, spans
from iotistic.telemetry.ledger.settings import LedgerSettings
from iotistic.telemetry.statements import Record

log = structlog.get_logger()

_ASKED_A_ROUND = 200
_TOLD_A_ROUND = 500
_AT_A_TIME = 25
"""Messages that wait for the broker together: hundreds would hold up whatever else it and this process do."""
_MOST_EXPECTED = 10_000
_LONGEST_PAUSE_S = 3600.0
_MOST_TIMES = 30
"""Requests without an answer after which a sender is left alone: about a day."""
_PATIENCE = 20
"""Watermarks before a sender that waits for its turn in the catch-up lane is asked once more."""


class Publisher(Protocol):
    """Publishes a message and returns once the broker has acknowledged it."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Raise Denied when the broker refuses the message, Unavailable when it does not answer."""
        ...


class Correspondence:
    """Asks senders for what is missing, and tells them what is stored."""

    def __init__(self, repository: LedgerRepository, publisher: Publisher, settings: LedgerSettings) -> None:
        self._repository = repository
        self._publisher = publisher
        self._settings = settings
        self._expected: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def ask(self) -> int:
        """Ask for gaps that are due; return how many requests went out. Raises Unavailable."""
        due = await self._repository.due(limit=_ASKED_A_ROUND, ranges=MOST_RANGES)
        if not due:
            return 0
        await few_at_a_time(self._ask_one, due)
        await self._repository.note_asked(
            [(gap["source"], gap["epoch"], self._pause_s(gap["asked"])) for gap in due]
        )
        return len(due)

    async def _ask_one(self, gap: Record) -> None:
        source, epoch = gap["source"], gap["epoch"]
        wanted = bounded(spans(gap["ranges"]), most_spans=MOST_RANGES, most_messages=MOST_ASKED)
        self._expected[source, epoch] = None
        while len(self._expected) > _MOST_EXPECTED:
            self._expected.popitem(last=False)
        if wanted and await self._send(source, delivery.RESEND, ResendRequest(epoch, pairs(wanted))):
            ASKED.inc(sum(one.messages for one in wanted))

    async def confirm(self) -> int:
        """Tell senders what is stored of what they sent; return how many were told. Raises Unavailable."""
        told = 0
        while (count := await self._confirm_some()) == _TOLD_A_ROUND:
            told += count
        return told + count

    async def _confirm_some(self) -> int:
        rows = await self._repository.unconfirmed(
            older_s=self._settings.ledger_confirm_s, limit=_TOLD_A_ROUND, ranges=MOST_RANGES + 1
        )
        if rows:
            await few_at_a_time(self._confirm_one, rows)
            await self._repository.note_confirmed(
                [(row["source"], row["epoch"]) for row in rows], rows[0]["at"]
            )
        CONFIRMED.inc(len(rows))
        return len(rows)

    async def _confirm_one(self, row: Record) -> None:
        await self._send(row["source"], delivery.RECEIPT, _confirmation(row))

    async def hear(self, topic: str, payload: bytes) -> None:
        """Note what a sender answers, once for each request; what nobody asked for is counted and forgotten.

        Whatever devices send here, the database hears of it only when it answers something.
        """
        source = delivery.reply_sender(topic)
        try:
            answer = delivery.parse_answer(payload)
        except DeliveryMessageInvalid as exc:
            ANSWERS.labels("refused").inc()
            log.debug("answer.refused", topic=topic, reason=exc.message)
            return
        if source is None or (source, answer.epoch) not in self._expected:
            ANSWERS.labels("unasked").inc()
            return
        del self._expected[source, answer.epoch]
        said = Answer(*(_spans(ranges) for ranges in (answer.again, answer.gone, answer.waiting)))
        pause_s = self._settings.ledger_watermark_s * (_PATIENCE if answer.waiting else 2)
        expected = await self._repository.note_answer(source, answer.epoch, said, pause_s=pause_s)
        ANSWERS.labels("noted" if expected else "unasked").inc()

    async def hear_carefully(self, topic: str, payload: bytes) -> None:
        """Note an answer; one that the database cannot take now is lost, and asked for again."""
        try:
            await self.hear(topic, payload)
        except (Unavailable, asyncpg.PostgresError) as exc:
            ANSWERS.labels("lost").inc()
            log.debug("answer.lost", topic=topic, reason=str(exc))

    async def _send(self, source: str, verb: str, message: ResendRequest | Confirmation) -> bool:
        topic = delivery.command_topic(source, verb)
        if topic is None:
            return False
        try:
            await self._publisher.publish(topic, delivery.encode(message))
        except Unavailable:
            raise
        except Denied as exc:
            log.warning("command.denied", topic=topic, reason=exc.message)
            return False
        return True

    def _pause_s(self, asked: int) -> float | None:
        if asked + 1 >= _MOST_TIMES:
            return None
        return min(_LONGEST_PAUSE_S, self._settings.ledger_watermark_s * 2.0 ** min(asked, 20))


async def few_at_a_time(send: Callable[[Record], Awaitable[None]], rows: Sequence[Record]) -> None:
    """Send one message for each row. Raises what the first of them raises that fails; some of the others went out."""
    for start in range(0, len(rows), _AT_A_TIME):
        await asyncio.gather(*map(send, rows[start : start + _AT_A_TIME]))


def _spans(ranges: Sequence[tuple[int, int]]) -> list[Span]:
    return [Span(*one) for one in ranges]


def _confirmation(row: Record) -> Confirmation:
    missing = spans(row["missing"])
    sent = row["sent"]
    if len(missing) > MOST_RANGES:
        sent = missing[MOST_RANGES].first - 1
    return Confirmation(row["epoch"], sent, pairs(missing[:MOST_RANGES]))
