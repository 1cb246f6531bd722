"""Rows of the ledger."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from iotistic.telemetry.ledger.healing import Bucket
from iotistic.telemetry.ledger.model import Span, sender_keys
from iotistic.telemetry.statements import Record, Statements

MOST_GAPS = 100
"""Ranges shown of each kind of one epoch."""
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


class Answer(NamedTuple):
    """What a sender says about missing messages."""

    again: Sequence[Span] = ()
    gone: Sequence[Span] = ()
    waiting: Sequence[Span] = ()


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

    async def heal(self, since: datetime | None) -> tuple[datetime, list[tuple[float, int]]]:
        """Count what was filled in epochs that changed since then (None: all).

        Returns the time of this look, and for each run of messages that came, for how many seconds it had
        been missing, and how many they are.
        """
        rows = await self._statements.fetch("heal", since)
        return rows[0]["at"], [
            (row["missing_s"], row["messages"]) for row in rows if row["messages"] is not None
        ]

    async def watch(self, watermark: timedelta) -> int:
        """Look at all gaps; return how many epochs have one that is older than the watermark."""
        return (await self._statements.fetch("watch", watermark))[0]["with_gaps"]

    async def totals(self, chosen: Chosen) -> Record:
        """Return sums over a selection."""
        return (await self._statements.fetch("totals", *chosen.arguments))[0]

    async def page(self, chosen: Chosen, *, after: tuple[str, int], limit: int) -> Sequence[Record]:
        """Return epochs by sender and epoch."""
        return await self._statements.fetch("page", *chosen.arguments, *after, limit)

    async def gaps(self, epochs: Sequence[Record]) -> dict[tuple[str, int], list[Record]]:
        """Return what is missing of some epochs by sender and epoch: `kind`, `first`, `last`, `since`, `came_by`.

        Kinds are young (not noted yet), and what the sender says: gone, waiting, again, unanswered.
        """
        return _by_epoch(await self._statements.fetch("gaps", *_keys(epochs), MOST_GAPS))

    async def healing(self, chosen: Chosen) -> list[Bucket]:
        """Return how long healed messages of a selection had been missing."""
        rows = await self._statements.fetch("healing", *chosen.arguments)
        return [Bucket(row["messages"], row["longest_s"]) for row in rows]

    async def healing_of(self, epochs: Sequence[Record]) -> dict[tuple[str, int], list[Bucket]]:
        """Return the same of some epochs, by sender and epoch."""
        found = _by_epoch(await self._statements.fetch("healing_of", *_keys(epochs)))
        return {
            key: [Bucket(row["messages"], row["longest_s"]) for row in rows] for key, rows in found.items()
        }

    async def senders(self, sources: Sequence[str]) -> Mapping[str, Record]:
        """Return when senders were last heard of, and what they keep back, by sender."""
        rows = await self._statements.fetch("senders", list(sources))
        return {row["source"]: row for row in rows}

    async def note_backlogs(self, said: Sequence[tuple[str, int, float]]) -> None:
        """Note senders, how many messages they keep back, and how many seconds ago they said so."""
        await self._statements.fetch("note_backlogs", *map(list, zip(*said, strict=True)))

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

    async def note_answer(self, source: str, epoch: int, answer: Answer, *, pause_s: float) -> bool:
        """Note an answer; tell whether there was a gap that it speaks of."""
        arguments = *map(_multirange, (answer.again, answer.gone, answer.waiting)), pause_s
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

    async def receipts_unsent(self, *, limit: int) -> Sequence[Record]:
        """Return receipts that are to go to their senders now."""
        return await self._statements.fetch("receipts_unsent", limit)

    async def note_receipts_sent(self, sent: Sequence[Record]) -> None:
        """Note receipts that the broker took."""
        await self._statements.fetch("receipts_sent", *_places(sent))

    async def note_receipts_refused(
        self, refused: Sequence[Record], pauses_s: Sequence[float | None]
    ) -> None:
        """Note when each may be tried again (None: never)."""
        await self._statements.fetch("receipts_refused", *_places(refused), list(pauses_s))

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


def _keys(epochs: Sequence[Record]) -> tuple[list[str], list[int]]:
    return [row["source"] for row in epochs], [row["epoch"] for row in epochs]


def _places(receipts: Sequence[Record]) -> tuple[list[str], list[datetime]]:
    return [row["source"] for row in receipts], [row["until"] for row in receipts]


def _by_epoch(rows: Iterable[Record]) -> dict[tuple[str, int], list[Record]]:
    found: dict[tuple[str, int], list[Record]] = {}
    for row in rows:
        found.setdefault((row["source"], row["epoch"]), []).append(row)
    return found
