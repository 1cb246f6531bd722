"""Messages that wait for the cloud: kept on disk before they are sent, until it is known that they arrived.

    append -> waiting -> (the link sends) -> sent -> (the ledger's receipt) -> confirm
                                              again <- (the ledger asks)

Promises:
- What `append` returned a stamp for is on the disk, and survives a power cut.
- A stamp is never given to two messages: numbers go up by one, also after everything was removed, and what
  cannot be continued begins a new epoch, larger than all before.
- First in, first out; past `limit_bytes` the oldest go, and are counted.
- After a crash a message may be sent again, with the stamp that it had.

A message is one row of one table without an index, so that an append changes one page of the file. What was
sent is kept as one number; the few that are ahead of it live in memory, and are sent again after a crash.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import MessageTooLarge, SealBroken
from iotistic.agent.store.outbox_rows import Letter, Message, Numbering, Stamp, pack, unpack
from iotistic.agent.store.ranges import Range, joined, within, without
from iotistic.agent.store.sealing import Sealer

log = structlog.get_logger()

DEFAULT_LIMIT_BYTES = 32 * 2**20
_ROW_BYTES = 16
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


class Outbox:
    """Made by `open_outbox`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Callable[[], float],
        epoch_path: Path,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self._database, self._sealer, self._clock = database, sealer, clock
        self._limit_bytes = limit_bytes
        self._numbers = Numbering(epoch_path)
        self._ahead: set[int] = set()
        self._bytes = 0
        self._known_at = -1

    async def append(self, letters: Iterable[Letter]) -> list[Stamp]:
        """Keep messages and return their stamps, in order; all are kept, or none.

        Raises MessageTooLarge and StoreUnavailable.
        """
        letters, now = list(letters), self._clock()
        for letter in letters:
            if len(letter.payload) + len(letter.topic.encode()) + 2 * _ROW_BYTES > self._limit_bytes:
                raise MessageTooLarge(f"{len(letter.payload)} of at most {self._limit_bytes} bytes")
        return await self._database.run(lambda connection: self._append(connection, letters, now))

    async def waiting(self, limit: int = 100, after: Stamp | None = None) -> list[Message]:
        """Return the oldest messages that were not sent; those behind `after`, for what is under way."""

        def work(connection: sqlite3.Connection) -> list[Message]:
            self._look(connection)
            start = self._numbers.sent
            if after is not None and (id_ := self._numbers.id_of(after)) is not None:
                start = max(start, id_)
            return self._read(connection, start, limit)

        return await self._database.run(work, durable=False)

    async def sent(self, stamps: Iterable[Stamp]) -> None:
        """Note that messages were sent and acknowledged: they wait no more, and are kept until confirmed."""
        stamps = list(stamps)

        def work(connection: sqlite3.Connection) -> None:
            self._look(connection)
            ids = [self._numbers.id_of(stamp) for stamp in stamps]
            self._ahead.update(id_ for id_ in ids if id_ is not None and self._waits(connection, id_))
            self._advance(connection)

        await self._database.run(work, durable=False)

    async def confirm(self, epoch: int, ranges: Iterable[Range]) -> int:
        """Forget messages that are stored elsewhere, and return how many; others are no error.

        After a power cut some may be back, and are sent again under their stamps.
        """
        ranges = list(ranges)

        def work(connection: sqlite3.Connection) -> int:
            self._look(connection)
            return sum(
                self._remove(connection, first, last) for first, last in self._numbers.ids_of(epoch, ranges)
            )

        return await self._database.run(work, durable=False)

    async def confirm_up_to(self, epoch: int, sent: int, missing: Iterable[Range]) -> int:
        """Forget what a receipt says is stored: everything up to `sent` but `missing`; return how many."""
        return await self.confirm(epoch, without((1, sent), missing))

    async def again(self, epoch: int, ranges: Iterable[Range], limit: int = 1000) -> Again:
        """Return what was asked for: messages that were sent, what is not here, what will be sent anyway."""
        ranges = sorted(ranges)

        def work(connection: sqlite3.Connection) -> Again:
            self._look(connection)
            return self._again(connection, epoch, ranges, limit)

        return await self._database.run(work, durable=False)

    async def begin_epoch(self, above: int = 0) -> None:
        """Let the next message begin a new epoch, larger than `above`: the cloud knows numbers that we do not."""

        def work(connection: sqlite3.Connection) -> None:
            self._look(connection)
            self._numbers.close(connection, above)

        await self._database.run(work)

    async def clear(self) -> None:
        """Forget all messages, and begin a new epoch with the next."""

        def work(connection: sqlite3.Connection) -> None:
            self._look(connection)
            self._remove(connection, 0, self._numbers.last)
            self._numbers.close(connection, 0)

        await self._database.run(work)

    async def standing(self) -> OutboxStanding:
        """Return what the outbox holds."""

        def work(connection: sqlite3.Connection) -> OutboxStanding:
            self._look(connection)
            count = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
            behind = connection.execute(
                "SELECT count(*) FROM outbox WHERE id > ?", (self._numbers.sent,)
            ).fetchone()[0]
            numbers = self._numbers
            return OutboxStanding(
                numbers.epoch, count, self._bytes, behind - len(self._ahead), numbers.dropped
            )

        return await self._database.run(work, durable=False)

    # Everything below runs in the store's thread, inside of a transaction.

    def _look(self, connection: sqlite3.Connection) -> None:
        """Read what is remembered of the tables, the first time and after something was undone."""
        if self._known_at == self._database.rollbacks:
            return
        self._numbers.read(connection)
        count, content = connection.execute(
            "SELECT count(*), coalesce(sum(length(sealed)), 0) FROM outbox"
        ).fetchone()
        self._bytes = content + count * _ROW_BYTES
        self._ahead = {id_ for id_ in self._ahead if self._numbers.sent < id_ <= self._numbers.last}
        self._known_at = self._database.rollbacks

    def _append(self, connection: sqlite3.Connection, letters: list[Letter], now: float) -> list[Stamp]:
        self._look(connection)
        stamps: list[Stamp] = []
        for letter in letters:
            id_, stamp = self._numbers.next(connection, now)
            sealed = self._sealer.seal(pack(letter, now), f"outbox {id_}")
            self._make_room(connection, len(sealed) + _ROW_BYTES)
            connection.execute("INSERT INTO outbox (id, sealed) VALUES (?, ?)", (id_, sealed))
            self._bytes += len(sealed) + _ROW_BYTES
            stamps.append(stamp)
        return stamps

    def _waits(self, connection: sqlite3.Connection, id_: int) -> bool:
        """Say whether a message is here and not known to be sent: receipts may be faster than acknowledgements."""
        found = connection.execute("SELECT 1 FROM outbox WHERE id = ?", (id_,)).fetchone()
        return id_ > self._numbers.sent and found is not None

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        if self._bytes + size <= self._limit_bytes:
            return
        most = self._limit_bytes - size - self._limit_bytes // _ROOM_SHARE
        freed = last = 0
        for id_, length in connection.execute("SELECT id, length(sealed) FROM outbox ORDER BY id"):
            freed, last = freed + length + _ROW_BYTES, id_
            if self._bytes - freed <= most:
                break
        dropped = self._remove(connection, 0, last)
        self._numbers.drop(connection, dropped)
        log.warning("outbox.messages_dropped", messages=dropped, limit_bytes=self._limit_bytes)

    def _remove(self, connection: sqlite3.Connection, first: int, last: int) -> int:
        content = connection.execute(
            "SELECT coalesce(sum(length(sealed)), 0) FROM outbox WHERE id BETWEEN ? AND ?", (first, last)
        ).fetchone()[0]
        count = connection.execute("DELETE FROM outbox WHERE id BETWEEN ? AND ?", (first, last)).rowcount
        if count:
            self._bytes -= content + count * _ROW_BYTES
            self._ahead = {id_ for id_ in self._ahead if not first <= id_ <= last}
            self._numbers.removed(connection, last)
            self._advance(connection)
        return count

    def _advance(self, connection: sqlite3.Connection) -> None:
        """Move the mark of what was sent up to the first message that was not."""
        sent = self._numbers.sent
        for (id_,) in connection.execute("SELECT id FROM outbox WHERE id > ? ORDER BY id", (sent,)):
            if id_ not in self._ahead:
                sent = max(sent, id_ - 1)
                break
        else:
            sent = self._numbers.last
        self._ahead = {id_ for id_ in self._ahead if id_ > sent}
        self._numbers.mark_sent(connection, sent)

    def _read(self, connection: sqlite3.Connection, start: int, limit: int) -> list[Message]:
        found: list[Message] = []
        broken: list[int] = []
        for id_, sealed in connection.execute(
            "SELECT id, sealed FROM outbox WHERE id > ? ORDER BY id", (start,)
        ):
            if len(found) >= limit:
                break
            if id_ not in self._ahead:
                self._open_into(found, broken, id_, sealed)
        for id_ in broken:
            self._numbers.drop(connection, self._remove(connection, id_, id_))
        return found

    def _open_into(self, found: list[Message], broken: list[int], id_: int, sealed: bytes) -> None:
        try:
            letter, kept_at = unpack(self._sealer.unseal(sealed, f"outbox {id_}"))
        except (SealBroken, ValueError) as exc:
            log.warning("outbox.message_unreadable", reason=str(exc))
            broken.append(id_)
        else:
            found.append(Message(self._numbers.stamp_of(id_), letter.topic, letter.payload, kept_at))

    def _again(self, connection: sqlite3.Connection, epoch: int, ranges: list[Range], limit: int) -> Again:
        messages: list[Message] = []
        waiting: list[int] = []
        known = self._numbers.ids_of(epoch, ranges)
        for first, last in known:
            rows = connection.execute(
                "SELECT id, sealed FROM outbox WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
            ).fetchall()
            for id_, sealed in rows:
                unsent = id_ > self._numbers.sent and id_ not in self._ahead
                if unsent or len(messages) >= limit:
                    waiting.append(self._numbers.stamp_of(id_).sequence)
                else:
                    self._open_into(messages, [], id_, sealed)
        here = joined([*waiting, *(message.stamp.sequence for message in messages)])
        gone = [part for one in ranges for part in without(one, within(here, one))]
        return Again(messages, gone, joined(waiting))


async def open_outbox(
    database: Database,
    sealer: Sealer,
    clock: Callable[[], float],
    epoch_path: Path,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Outbox:
    """Return the outbox; `epoch_path` is a small file that remembers the largest epoch past a broken database."""
    outbox = Outbox(database, sealer, clock, epoch_path, limit_bytes)
    await outbox.standing()
    return outbox
