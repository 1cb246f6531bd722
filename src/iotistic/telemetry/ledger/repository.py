"""Rows of the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from iotistic.telemetry.ledger.model import Span, sender_keys
from iotistic.telemetry.statements import Record, Statements

MOST_GAPS = 100
"""Ranges shown of each stage of one epoch."""
_FOLD_BATCHES = 20


@dataclass(frozen=True)
class Chosen:
    """Which epochs: of these senders (None: all), active in a range of time, with something missing or all."""

    sources: list[str] | None = None
    start: datetime | None = None
    end: datetime | None = None
    only_missing: bool = False

    @property
    def arguments(self) -> tuple[object, ...]:
        """The parameters that the statements begin with."""
        return self.sources, self.start, self.end, self.only_missing


class LedgerRepository:
    """Reads and writes the ledger. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._statements = Statements(pool, "iotistic.telemetry.ledger")

    async def fold(self, *, rounds: int, patient: bool = True) -> bool:
        """Add what sinks noted to the epochs, in so many steps; tell whether that was all.

        Without patience it is left to whoever does it at the moment.
        """
        for _ in range(rounds):
            rows = await self._statements.fetch("fold", _FOLD_BATCHES, patient)
            if rows[0]["folded"] < _FOLD_BATCHES:
                return True
        return False

    async def waiting(self) -> int:
        """Return how many batches wait to be added, a thousand at most."""
        return (await self._statements.fetch("waiting"))[0]["batches"]

    async def watch(self, watermark: timedelta) -> int:
        """Look at all gaps; return how many epochs have one that is older than the watermark."""
        return (await self._statements.fetch("watch", watermark))[0]["with_gaps"]

    async def totals(self, chosen: Chosen) -> Record:
        """Return sums over a selection."""
        return (await self._statements.fetch("totals", *chosen.arguments))[0]

    async def page(self, chosen: Chosen, *, after: tuple[str, int], limit: int) -> Sequence[Record]:
        """Return epochs by sender and epoch, with what is missing."""
        return await self._statements.fetch("page", *chosen.arguments, *after, limit, MOST_GAPS)

    async def dropped(self, sources: list[str] | None) -> Sequence[Record]:
        """Return what the ledger does not keep any more."""
        return await self._statements.fetch("dropped", sources)

    async def devices(self, sources: Sequence[str]) -> Mapping[str, Record]:
        """Return the registered devices that senders are."""
        keys = sender_keys(sources)
        rows = await self._statements.fetch("names", keys["mac"], keys["uuid"], keys["key"])
        found: dict[str, Record] = {}
        for row in rows:
            found |= {f"mac:{row['mac']}": row, f"key:{row['key']}": row, f"uuid:{row['key']}": row}
        return found | {f"uuid:{row['uuid']}": row for row in rows}

    async def due(self, *, limit: int, ranges: int) -> Sequence[Record]:
        """Return gaps whose senders are to be asked now."""
        return await self._statements.fetch("due", limit, ranges)

    async def note_asked(self, asked: Sequence[tuple[str, int, float | None]]) -> None:
        """Note senders and epochs that were asked for, and the seconds until they may be again."""
        await self._statements.fetch("asked", *map(list, zip(*asked, strict=True)))

    async def note_answer(
        self, source: str, epoch: int, *, again: Sequence[Span], gone: Sequence[Span], pause_s: float
    ) -> bool:
        """Note an answer; tell whether there was a gap that it speaks of."""
        arguments = _multirange(again), _multirange(gone), pause_s
        return bool(await self._statements.fetch("answered", source, epoch, *arguments))

    async def unconfirmed(self, *, older_s: float, limit: int, ranges: int) -> Sequence[Record]:
        """Return epochs whose senders are to be told what is stored."""
        return await self._statements.fetch("unconfirmed", older_s, limit, ranges)

    async def note_confirmed(self, told: Sequence[tuple[str, int]], at: datetime) -> None:
        """Note senders and epochs that were told."""
        await self._statements.fetch("confirmed", *map(list, zip(*told, strict=True)), at)

    async def receipts_due(self, start: datetime, until: datetime, *, limit: int) -> list[str]:
        """Return senders that sent since `start` and have no receipt for the time until `until`."""
        return [row["source"] for row in await self._statements.fetch("receipts_due", start, until, limit)]

    async def last_receipts(self, sources: Sequence[str]) -> Mapping[str, str]:
        """Return the newest receipt's body by sender."""
        rows = await self._statements.fetch("last_receipts", list(sources))
        return {row["source"]: row["body"] for row in rows}

    async def store_receipts(self, bodies: Mapping[str, str], until: datetime) -> None:
        """Keep receipts by sender; one that is there already stays."""
        await self._statements.fetch("store_receipts", list(bodies), list(bodies.values()), until)

    async def receipts(self, chosen: Chosen, *, after: tuple[datetime, str], limit: int) -> Sequence[Record]:
        """Return receipts by time and sender."""
        return await self._statements.fetch(
            "receipts", chosen.sources, chosen.start, chosen.end, *after, limit
        )

    async def forget(self, before: datetime) -> None:
        """Drop what is older."""
        await self._statements.fetch("forget", before)


def spans(ranges: Sequence[asyncpg.Range]) -> list[Span]:
    """Return ranges of the database as spans with both ends included."""
    return [Span(int(one.lower), int(one.upper) - 1) for one in ranges]


def _multirange(given: Sequence[Span]) -> list[asyncpg.Range]:
    return [asyncpg.Range(span.first, span.last, lower_inc=True, upper_inc=True) for span in given]
