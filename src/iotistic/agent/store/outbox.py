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
from pathlib import Path
from typing import TypeVar

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import MessageTooLarge
from iotistic.agent.store.outbox_rows import Letter, Message, Stamp
from iotistic.agent.store.outbox_table import ROW_BYTES, Again, OutboxStanding, OutboxTable
from iotistic.agent.store.ranges import Range, without
from iotistic.agent.store.sealing import Sealer

T = TypeVar("T")

DEFAULT_LIMIT_BYTES = 32 * 2**20


class Outbox:
    """Made by `open_outbox`. Everything raises StoreUnavailable while the disk takes no writes that it needs."""

    def __init__(
        self, database: Database, table: OutboxTable, clock: Callable[[], float], limit_bytes: int
    ) -> None:
        self._database, self._table = database, table
        self._clock, self._limit_bytes = clock, limit_bytes
        self.appended: Callable[[], None] = _nothing
        """Hears of every append once it is on the disk."""

    async def append(self, letters: Iterable[Letter]) -> list[Stamp]:
        """Keep messages and return their stamps, in order; all are kept, or none. Raises MessageTooLarge."""
        letters, now = list(letters), self._clock()
        for letter in letters:
            if len(letter.payload) + len(letter.topic.encode()) + 4 * ROW_BYTES > self._limit_bytes:
                raise MessageTooLarge(f"{len(letter.payload)} of at most {self._limit_bytes} bytes")
        stamps = await self._run(
            lambda table, connection: table.append(connection, letters, now), durable=True
        )
        self.appended()
        return stamps

    async def waiting(self, limit: int = 100, after: Stamp | None = None) -> list[Message]:
        """Return the oldest messages that were not sent; those behind `after`, for what is under way."""
        return await self._run(lambda table, connection: table.waiting(connection, limit, after))

    async def sent(self, stamps: Iterable[Stamp]) -> None:
        """Note that messages were sent and acknowledged: they wait no more, and are kept until confirmed."""
        stamps = list(stamps)
        await self._run(lambda table, connection: table.sent(connection, stamps))

    async def confirm(self, epoch: int, ranges: Iterable[Range]) -> int:
        """Forget messages that are stored elsewhere, and return how many; others are no error.

        After a power cut some may be back, and are sent again under their stamps.
        """
        ranges = list(ranges)
        return await self._run(lambda table, connection: table.confirm(connection, epoch, ranges))

    async def confirm_up_to(self, epoch: int, sent: int, missing: Iterable[Range]) -> int:
        """Forget what a receipt says is stored: everything up to `sent` but `missing`; return how many."""
        return await self.confirm(epoch, without((1, sent), missing))

    async def again(self, epoch: int, ranges: Iterable[Range], limit: int = 1000) -> Again:
        """Return what was asked for: messages that were sent, what is not here, what will be sent anyway."""
        ranges = sorted(ranges)
        return await self._run(lambda table, connection: table.again(connection, epoch, ranges, limit))

    async def begin_epoch(self, above: int = 0) -> None:
        """Let the next message begin a new epoch, larger than `above`: the cloud knows numbers that we do not."""
        await self._run(lambda table, connection: table.numbers.close(connection, above), durable=True)

    async def clear(self) -> None:
        """Forget all messages, and begin a new epoch with the next."""
        await self._run(lambda table, connection: table.clear(connection), durable=True)

    async def last(self, epoch: int) -> int:
        """Return the largest sequence number that was given in an epoch, 0 when nothing is known of it."""
        return await self._run(lambda table, _connection: table.numbers.last_of(epoch))

    async def standing(self) -> OutboxStanding:
        """Return what the outbox holds."""
        return await self._run(lambda table, _connection: table.standing())

    async def _run(self, work: Callable[[OutboxTable, sqlite3.Connection], T], *, durable: bool = False) -> T:
        def run(connection: sqlite3.Connection) -> T:
            self._table.look(connection)
            return work(self._table, connection)

        return await self._database.run(run, durable=durable)


def _nothing() -> None:
    """Tell nobody."""


async def open_outbox(
    database: Database,
    sealer: Sealer,
    clock: Callable[[], float],
    epoch_path: Path,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Outbox:
    """Return the outbox; `epoch_path` is a small file that remembers the largest epoch past a broken database."""
    table = OutboxTable(sealer, epoch_path, limit_bytes)
    database.participants.append(table)
    outbox = Outbox(database, table, clock, limit_bytes)
    await outbox.standing()
    return outbox
