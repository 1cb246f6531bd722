"""Links entries into the chain, a moment after they were written.

    request   INSERT entry, INSERT queue row          (one transaction, no lock that others want)
    sealer    lock the head - take the queue in order - hash - INSERT links - move the head

- Only the sealer waits for the head, so requests of any number of processes never wait for each other.
- Any number of sealers may run: whoever finds the head taken has nothing to do.
- An entry is linked after it was committed. One that is committed late is linked late; the order of the chain is
  the order of sealing.
- Killed at any point, a round is rolled back as a whole.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from iotistic.control.audit import repository
from iotistic.control.audit.model import Head, link_hash
from iotistic.control.audit.port import Database, Severity
from iotistic.control.audit.trail import AuditTrail, utc_now
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_ROUND = 1000


class Sealer:
    """Seals what waits."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._clock = pool, clock
        self._trail = AuditTrail(clock=clock)

    async def seal(self, *, rounds: int = 100) -> int:
        """Seal until nothing waits, or for so many rounds of 1,000; return how many entries were sealed."""
        sealed = 0
        for _ in range(rounds):
            with database_errors():
                async with self._pool.acquire() as db, db.transaction():
                    count = await self._round(db)
            sealed += count
            if count < _ROUND:
                break
        if sealed:
            with database_errors():
                end = await repository.head(self._pool)
            # The log is another place: whoever cuts the chain's end off cannot change it there.
            log.info("audit.sealed", entries=sealed, head=str(end))
        return sealed

    async def _round(self, db: Database) -> int:
        end = await repository.lock_head(db)
        if end is None:
            return 0
        taken = await repository.take_unsealed(db, _ROUND)
        links = _linked(end, [row for _, row in taken if row is not None])
        if links:
            await repository.add_links(db, links, self._clock())
        for log_id, row in taken:
            if row is None:
                await self._tell_loss(db, log_id)
        return len(taken)

    async def _tell_loss(self, db: Database, log_id: int) -> None:
        """Say that an entry was removed before it was sealed, which no request can do."""
        log.error("audit.entry_lost", entry=log_id)
        await self._trail.record(
            db, "service:sealer", "audit.entry_lost", ("audit", log_id), severity=Severity.CRITICAL
        )


def _linked(end: Head, rows: list[Any]) -> list[tuple[int, int, datetime, bytes]]:
    links: list[tuple[int, int, datetime, bytes]] = []
    previous = end.hash
    for position, row in enumerate(rows, start=end.position + 1):
        previous = link_hash(previous, position, row)
        links.append((position, row["id"], row["at"], previous))
    return links
