"""Signed receipts on their way to senders: at least once, in the order of the hours, so many at a time.

A receipt counts as sent once the broker has acknowledged it, and that is noted after; whoever dies in between
leaves one that is sent again. A sender that is away gets what the broker keeps for it, if it asked the broker
to; every receipt can also be had from the API.
"""

import asyncio

import structlog

from iotistic.contracts.delivery import SIGNED_RECEIPT, command_topic
from iotistic.kernel.errors import Denied
from iotistic.telemetry.ledger.asking import Publisher
from iotistic.telemetry.ledger.metrics import REFUSED, SENT
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.statements import Record

log = structlog.get_logger()

_A_ROUND = 100
_REFUSED_PAUSE_S = 3600.0


class Courier:
    """Brings receipts to the broker."""

    def __init__(self, repository: LedgerRepository, publisher: Publisher) -> None:
        self._repository, self._publisher = repository, publisher

    async def send(self) -> int:
        """Send up to a hundred receipts; return how many were due. Raises Unavailable after noting what went."""
        due = await self._repository.receipts_unsent(limit=_A_ROUND)
        outcomes = await asyncio.gather(*map(self._send_one, due), return_exceptions=True)
        told = list(zip(due, outcomes, strict=True))
        sent = [receipt for receipt, outcome in told if outcome is None]
        refused = [(receipt, exc) for receipt, exc in told if isinstance(exc, Denied)]
        if sent:
            SENT.inc(len(sent))
            await self._repository.note_receipts_sent(sent)
        if refused:
            await self._postpone(refused)
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, Denied):
                raise outcome
        return len(due)

    async def _send_one(self, receipt: Record) -> None:
        topic = command_topic(receipt["source"], SIGNED_RECEIPT)
        if topic is None:
            raise _Unreachable(f"{receipt['source']} names no topic")
        await self._publisher.publish(topic, receipt["body"].encode())

    async def _postpone(self, refused: list[tuple[Record, Denied]]) -> None:
        REFUSED.inc(len(refused))
        receipts = [receipt for receipt, _ in refused]
        pauses_s = [None if isinstance(exc, _Unreachable) else _REFUSED_PAUSE_S for _, exc in refused]
        await self._repository.note_receipts_refused(receipts, pauses_s)
        log.warning(
            "receipt.refused", receipts=len(refused), source=receipts[0]["source"], reason=str(refused[0][1])
        )


class _Unreachable(Denied):
    """The sender's name leads to no topic."""

    code = "ledger.sender_unreachable"
