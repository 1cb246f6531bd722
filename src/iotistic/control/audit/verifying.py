"""Goes along the chain and names every place where it does not hold.

Found is what was changed, removed, inserted or put into another order after it was sealed. Whoever may change the whole
database could compute a new chain: against that, compare with an anchor that was written down elsewhere (the log, paper).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import asyncpg

from iotistic.control.audit import repository
from iotistic.control.audit.model import GENESIS, Head, link_hash
from iotistic.control.audit.port import Database
from iotistic.kernel.postgres.pool import database_errors

_PAGE = 5000
_MOST_FAULTS = 100


class Fault(StrEnum):
    """What is wrong at a place."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    CUT_OFF = "cut-off"
    ANCHOR = "anchor"
    UNGUARDED = "unguarded"


_SAID = {
    Fault.CHANGED: "entry {entry} is not what was sealed at place {position}: it was changed, or put in another order",
    Fault.REMOVED: "what was sealed at place {position} is gone{named}",
    Fault.INSERTED: "entry {entry} was never sealed and waits for no seal: it was put there past the product",
    Fault.CUT_OFF: "the chain ends at place {position}, its head says another end: its last links were removed",
    Fault.ANCHOR: "at place {position} the chain is another one than the anchor's: it was computed anew",
    Fault.UNGUARDED: "the table {table} lets itself be changed: its trigger is off or gone",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A place where the chain does not hold."""

    fault: Fault
    position: int | None = None
    entry: int | None = None
    table: str | None = None

    @property
    def sentence(self) -> str:
        """It in words."""
        named = "" if self.entry is None else f" (entry {self.entry})"
        return _SAID[self.fault].format(
            position=self.position, entry=self.entry, table=self.table, named=named
        )


@dataclass(kw_only=True, slots=True)
class Verdict:
    """How a chain stands; `breaks` in the order of the chain, a hundred at most."""

    checked: int = 0
    dropped: int = 0
    unsealed: int = 0
    head: Head = field(default_factory=lambda: Head(0, GENESIS))
    breaks: list[Break] = field(default_factory=list[Break])

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.breaks

    @property
    def first(self) -> Break | None:
        """The first broken link."""
        return self.breaks[0] if self.breaks else None

    def note(self, found: Break) -> None:
        """Keep a place, unless there are enough."""
        if len(self.breaks) < _MOST_FAULTS:
            self.breaks.append(found)


async def verify(connection: asyncpg.Connection, *, anchor: Head | None = None) -> Verdict:
    """Check all of the chain, as it is at this moment."""
    with database_errors():
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _verify(connection, anchor)


async def _verify(db: Database, anchor: Head | None) -> Verdict:
    verdict = Verdict(head=await repository.head(db), unsealed=await repository.count_unsealed(db))
    walk = _Walk(verdict, await repository.drops(db), anchor)
    async for row in _links(db):
        walk.step(row)
    walk.finish()
    for entry in await repository.unlinked(db, _MOST_FAULTS):
        verdict.note(Break(fault=Fault.INSERTED, entry=entry))
    for table in await repository.guards(db):
        verdict.note(Break(fault=Fault.UNGUARDED, table=table))
    return verdict


async def _links(db: Database) -> AsyncIterator[Any]:
    position = 0
    while rows := await repository.linked_after(db, position, _PAGE):
        for row in rows:
            yield row
        position = rows[-1]["position"]


class _Walk:
    """One way along the chain."""

    def __init__(self, verdict: Verdict, drops: list[repository.Drop], anchor: Head | None) -> None:
        self._verdict, self._anchor = verdict, anchor
        self._ends = {position: digest for drop in drops for position, digest in drop.ends.items()}
        self._lasts = {drop.last.position: drop.last.hash for drop in drops}
        verdict.dropped = self._may_miss = sum(drop.entries for drop in drops)
        self._end = Head(0, GENESIS)

    def step(self, row: Any) -> None:
        position = row["position"]
        missing = position - self._end.position - 1
        previous = self._end.hash
        if missing:
            previous = self._ends.get(position - 1, b"")
            self._may_miss -= missing
            if not previous or self._may_miss < 0:
                self._verdict.note(Break(fault=Fault.REMOVED, position=self._end.position + 1))
        self._verdict.checked += 1
        if row["id"] is None:
            self._verdict.note(Break(fault=Fault.REMOVED, position=position, entry=row["log_id"]))
        elif (not missing or previous) and link_hash(previous, position, row) != row["hash"]:
            self._verdict.note(Break(fault=Fault.CHANGED, position=position, entry=row["log_id"]))
        # Goes on from what was kept, so that one change is one place.
        self._end = Head(position, row["hash"])
        self._compare(self._end)

    def finish(self) -> None:
        head = self._verdict.head
        if head.position > self._end.position and self._lasts.get(head.position) == head.hash:
            # Everything that was ever sealed up to the end has left by months.
            self._may_miss -= head.position - self._end.position
            self._end = head
        if self._end != head:
            self._verdict.note(Break(fault=Fault.CUT_OFF, position=self._end.position))
        elif self._may_miss > 0:
            self._verdict.note(Break(fault=Fault.REMOVED, position=self._end.position + 1))
        for position, digest in (self._ends | self._lasts).items():
            self._compare(Head(position, digest))
        if self._anchor and self._anchor.position > head.position:
            self._verdict.note(Break(fault=Fault.CUT_OFF, position=head.position))

    def _compare(self, place: Head) -> None:
        if self._anchor and place.position == self._anchor.position and place.hash != self._anchor.hash:
            self._verdict.note(Break(fault=Fault.ANCHOR, position=place.position))
