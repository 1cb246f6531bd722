"""The outbox's rows, worked on in the store's thread and inside of its transactions.

What stands in the table is counted in memory, and gone back to when a transaction is undone.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import structlog

from iotistic.agent.store.errors import SealBroken
from iotistic.agent.store.outbox_rows import Letter, Message, Numbering, Stamp, pack, unpack
from iotistic.agent.store.ranges import Range, joined, within, without
from iotistic.agent.store.sealing import Sealer

log = structlog.get_logger()

ROW_BYTES = 16
"""What a row takes besides its content."""
_ROOM_SHARE = 128
"""Room is made for this part of the limit at once: a full outbox does not remove a row with each append."""


@dataclass(frozen=True, slots=True)
class OutboxStanding:
    """What the outbox holds; `dropped` counts what made room for younger messages since the file was made."""

    epoch: int
    messages: int
    bytes: int
    waiting: int
    dropped: int


class Again(NamedTuple):
    """What there is to send again, and what is said about the rest: ranges of sequence numbers."""

    messages: list[Message]
    gone: list[Range]
    waiting: list[Range]


class Totals(NamedTuple):
    """What is in the table; `behind` counts the messages behind the mark of what was sent."""

    bytes: int = 0
    messages: int = 0
    behind: int = 0


class OutboxTable:
    """The rows of one outbox; `ahead` holds ids that were sent while older ones were not."""

    def __init__(self, sealer: Sealer, epoch_path: Path, limit_bytes: int) -> None:
        self._sealer, self._limit_bytes = sealer, limit_bytes
        self.numbers = Numbering(epoch_path)
        self.ahead: set[int] = set()
        self.totals = Totals()
        self._is_known = False

    def remember(self) -> object:
        """Return what is known of the tables."""
        return (self.totals, self.numbers.remember()) if self._is_known else None

    def recall(self, memory: object | None) -> None:
        """Know again what was known; nothing, when the tables are others."""
        self._is_known = memory is not None
        if memory is not None:
            self.totals, numbers = cast("tuple[Totals, object]", memory)
            self.numbers.recall(numbers)

    def look(self, connection: sqlite3.Connection) -> None:
        """Read what is remembered of the tables, the first time and after the file was replaced."""
        if self._is_known:
            return
        self.numbers.read(connection)
        content, count, behind = connection.execute(
            "SELECT coalesce(sum(length(sealed)), 0), count(*), coalesce(sum(id > ?), 0) FROM outbox",
            (self.numbers.sent,),
        ).fetchone()
        self.totals = Totals(content + count * ROW_BYTES, count, behind)
        self.ahead.clear()
        self._is_known = True

    def _count(self, size: int, count: int, behind: int) -> None:
        totals = self.totals
        self.totals = Totals(totals.bytes + size, totals.messages + count, totals.behind + behind)

    def append(self, connection: sqlite3.Connection, letters: list[Letter], now: float) -> list[Stamp]:
        """Keep messages and return their stamps; the oldest make room."""
        stamps: list[Stamp] = []
        for letter in letters:
            id_, stamp = self.numbers.next(connection, now)
            sealed = self._sealer.seal(pack(letter, now), f"outbox {id_}")
            self._make_room(connection, len(sealed) + ROW_BYTES)
            connection.execute("INSERT INTO outbox (id, sealed) VALUES (?, ?)", (id_, sealed))
            self._count(len(sealed) + ROW_BYTES, 1, 1)
            stamps.append(stamp)
        return stamps

    def waiting(self, connection: sqlite3.Connection, limit: int, after: Stamp | None) -> list[Message]:
        """Return the oldest messages that were not sent; one that cannot be read is dropped."""
        start = self.numbers.sent
        if after is not None and (id_ := self.numbers.id_of(after)) is not None:
            start = max(start, id_)
        found: list[Message] = []
        broken: list[int] = []
        rows = connection.execute("SELECT id, sealed FROM outbox WHERE id > ? ORDER BY id", (start,))
        for id_, sealed in rows:
            if len(found) >= limit:
                break
            if id_ not in self.ahead:
                self._open_into(found, broken, id_, sealed)
        for id_ in broken:
            self.numbers.drop(connection, self._remove(connection, id_, id_))
        return found

    def sent(self, connection: sqlite3.Connection, stamps: list[Stamp]) -> None:
        """Note what was sent."""
        ids = [self.numbers.id_of(stamp) for stamp in stamps]
        self.ahead.update(id_ for id_ in ids if id_ is not None and self._waits(connection, id_))
        self._advance(connection)

    def confirm(self, connection: sqlite3.Connection, epoch: int, ranges: list[Range]) -> int:
        """Remove messages and return how many."""
        ids = self.numbers.ids_of(epoch, ranges)
        return sum(self._remove(connection, first, last) for first, last in ids)

    def clear(self, connection: sqlite3.Connection) -> None:
        """Remove everything, and end the epoch."""
        self._remove(connection, 0, self.numbers.last)
        self.numbers.close(connection, 0)

    def again(self, connection: sqlite3.Connection, epoch: int, ranges: list[Range], limit: int) -> Again:
        """Return messages that were sent, and say what is gone and what waits."""
        messages: list[Message] = []
        waiting: list[int] = []
        known = self.numbers.ids_of(epoch, ranges)
        for first, last in known:
            rows = connection.execute(
                "SELECT id, sealed FROM outbox WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
            ).fetchall()
            for id_, sealed in rows:
                unsent = id_ > self.numbers.sent and id_ not in self.ahead
                if unsent or len(messages) >= limit:
                    waiting.append(self.numbers.stamp_of(id_).sequence)
                else:
                    self._open_into(messages, [], id_, sealed)
        here = joined([*waiting, *(message.stamp.sequence for message in messages)])
        gone = [part for one in ranges for part in without(one, within(here, one))]
        return Again(messages, gone, joined(waiting))

    def standing(self) -> OutboxStanding:
        """Return what is in the table."""
        totals, numbers = self.totals, self.numbers
        waiting = totals.behind - len(self.ahead)
        return OutboxStanding(numbers.epoch, totals.messages, totals.bytes, waiting, numbers.dropped)

    def _waits(self, connection: sqlite3.Connection, id_: int) -> bool:
        """Say whether a message is here and not known to be sent: receipts may be faster than acknowledgements."""
        found = connection.execute("SELECT 1 FROM outbox WHERE id = ?", (id_,)).fetchone()
        return id_ > self.numbers.sent and found is not None

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        if self.totals.bytes + size <= self._limit_bytes:
            return
        most = self._limit_bytes - size - self._limit_bytes // _ROOM_SHARE
        freed = last = 0
        for id_, length in connection.execute("SELECT id, length(sealed) FROM outbox ORDER BY id"):
            freed, last = freed + length + ROW_BYTES, id_
            if self.totals.bytes - freed <= most:
                break
        dropped = self._remove(connection, 0, last)
        self.numbers.drop(connection, dropped)
        log.warning("outbox.messages_dropped", messages=dropped, limit_bytes=self._limit_bytes)

    def _remove(self, connection: sqlite3.Connection, first: int, last: int) -> int:
        content, behind = connection.execute(
            "SELECT coalesce(sum(length(sealed)), 0), coalesce(sum(id > ?), 0) FROM outbox "
            "WHERE id BETWEEN ? AND ?",
            (self.numbers.sent, first, last),
        ).fetchone()
        count = connection.execute("DELETE FROM outbox WHERE id BETWEEN ? AND ?", (first, last)).rowcount
        if count:
            self._count(-content - count * ROW_BYTES, -count, -behind)
            self.ahead = {id_ for id_ in self.ahead if not first <= id_ <= last}
            self.numbers.removed(connection, last)
            self._advance(connection)
        return count

    def _advance(self, connection: sqlite3.Connection) -> None:
        """Move the mark of what was sent up to the first message that was not."""
        sent, passed = self.numbers.sent, 0
        for (id_,) in connection.execute("SELECT id FROM outbox WHERE id > ? ORDER BY id", (sent,)):
            if id_ not in self.ahead:
                sent = id_ - 1
                break
            passed += 1
        else:
            sent = self.numbers.last
        self.ahead = {id_ for id_ in self.ahead if id_ > sent}
        self._count(0, 0, -passed)
        self.numbers.mark_sent(connection, sent)

    def _open_into(self, found: list[Message], broken: list[int], id_: int, sealed: bytes) -> None:
        try:
            letter, kept_at = unpack(self._sealer.unseal(sealed, f"outbox {id_}"))
        except (SealBroken, ValueError) as exc:
            log.warning("outbox.message_unreadable", reason=str(exc))
            broken.append(id_)
        else:
            found.append(Message(self.numbers.stamp_of(id_), letter.topic, letter.payload, kept_at))
