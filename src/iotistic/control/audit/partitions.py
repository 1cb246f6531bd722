"""Months and days: made ahead, and dropped whole when they are too old.

A month of the trail leaves only when all of it is sealed. What its leaving takes out of the chain (how many links, the
hash before each link that stays, the last hash) is kept in audit_drops, so that the rest can still be verified.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise

import asyncpg
import structlog

from iotistic.control.audit import repository
from iotistic.control.audit.model import Head
from iotistic.control.audit.port import Database, Severity
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.audit.trail import AuditTrail
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOCK = "control:partitions"
# Shorter than a deadlock takes to be found: who reads the trail with its links locks both tables, in either order.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"


class Step(Enum):
    """How long a partition is, and how many are made ahead."""

    DAY = 7
    MONTH = 2

    def begins(self, at: datetime) -> datetime:
        """Return when the partition of a time begins."""
        at = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return at.replace(day=1) if self is Step.MONTH else at

    def after(self, first: datetime, steps: int = 1) -> datetime:
        """Return when the partition begins that is so many steps away; negative is before."""
        if self is Step.DAY:
            return first + timedelta(days=steps)
        months = first.year * 12 + first.month - 1 + steps
        return first.replace(year=months // 12, month=months % 12 + 1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A table, how it is cut, and how many whole partitions stay besides the present one."""

    table: str
    step: Step
    keep: int


class Partitions:
    """Keeps the partitions of the trail, of events and of decision records."""

    def __init__(self, pool: asyncpg.Pool, settings: AuditSettings) -> None:
        self._pool = pool
        self._trail = Kept("audit_logs", Step.MONTH, settings.audit_keep_months)
        self._links = Kept("audit_links", Step.MONTH, settings.audit_keep_months)
        self._others = (
            Kept("events", Step.DAY, settings.events_keep_days),
            Kept("why_records", Step.MONTH, settings.why_keep_months),
        )

    async def keep(self, now: datetime) -> None:
        """Make what is needed next, and drop what is too old; of several processes one does it."""
        with database_errors():
            for kept in (self._trail, self._links, *self._others):
                await self._make_ahead(kept, now)
            for kept in self._others:
                await self._drop_old(kept, now)
            await self._drop_months(now)

    async def _make_ahead(self, kept: Kept, now: datetime) -> None:
        begin = kept.step.begins(now)
        edges = [kept.step.after(begin, steps) for steps in range(kept.step.value + 2)]
        for first, until in pairwise(edges):
            try:
                with _unless_busy(kept.table):
                    await self._make(kept.table, first, until)
            except asyncpg.CheckViolationError:
                # Rows of that time lie in the partition for everything else, where they can stay.
                log.warning("partition.not_made", table=kept.table, first=first.isoformat())

    async def _make(self, table: str, first: datetime, until: datetime) -> None:
        async with self._pool.acquire() as db, db.transaction():
            if await self._is_ours(db):
                await db.execute(_LOCK_TIMEOUT)
                await db.execute(
                    "SELECT make_time_partition($1::text::regclass, $2, $3)", table, first, until
                )

    async def _drop_old(self, kept: Kept, now: datetime) -> None:
        with _unless_busy(kept.table):
            async with self._pool.acquire() as db, db.transaction():
                if not await self._is_ours(db):
                    return
                await db.execute(_LOCK_TIMEOUT)
                dropped = [name for name, _ in await self._old(db, kept, now)]
                for name in dropped:
                    await db.execute(f'DROP TABLE "{name}"')
            for name in dropped:
                log.info("partition.dropped", table=name)

    async def _drop_months(self, now: datetime) -> None:
        """Let months of the trail leave, each in a transaction with what is kept of it."""
        with _unless_busy(self._trail.table):
            while await self._drop_oldest_month(now):
                pass

    async def _drop_oldest_month(self, now: datetime) -> bool:
        """Let the oldest month leave; False when none is to."""
        async with self._pool.acquire() as db, db.transaction():
            if not await self._is_ours(db):
                return False
            old = await self._old(db, self._trail, now)
            return bool(old) and await self._drop_month(db, *old[0], now)

    async def _drop_month(self, db: Database, name: str, month: datetime, now: datetime) -> bool:
        until = Step.MONTH.after(month)
        waiting = await db.fetchval(
            "SELECT count(*) FROM audit_unsealed WHERE log_at >= $1 AND log_at < $2", month, until
        )
        if waiting:
            log.warning("audit.month_not_sealed", month=month.isoformat(), waiting=waiting)
            return False
        drop = await _leaving(db, month, until)
        if drop is not None:
            await repository.add_drop(db, drop, now)
            await self._tell(db, drop, now)
        await db.execute(_LOCK_TIMEOUT)
        await db.execute(f'DROP TABLE "{name}"')
        await db.execute(f'DROP TABLE IF EXISTS "{name.replace("audit_logs", "audit_links")}"')
        log.info("audit.month_dropped", month=month.isoformat(), entries=drop.entries if drop else 0)
        return True

    async def _tell(self, db: Database, drop: repository.Drop, now: datetime) -> None:
        told = {"month": drop.month, "entries": drop.entries, "last_link": str(drop.last)}
        trail = AuditTrail(clock=lambda: now)
        await trail.record(
            db, "service:retention", "audit.month_dropped", ("audit", f"{drop.month:%Y-%m}"),
            before=told, severity=Severity.WARNING,
        )  # fmt: skip

    async def _old(self, db: Database, kept: Kept, now: datetime) -> list[tuple[str, datetime]]:
        """Return the partitions that are to leave, the oldest first."""
        oldest = kept.step.after(kept.step.begins(now), -kept.keep)
        rows = await db.fetch(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = $1::text::regclass ORDER BY 1",
            kept.table,
        )
        return [(name, first) for name, first in _dated(rows, kept.table) if first < oldest]

    async def _is_ours(self, db: Database) -> bool:
        return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", _LOCK))


@contextmanager
def _unless_busy(table: str) -> Generator[None]:
    """Leave what readers hold for the next round: a drop that waited for them would make all others wait behind it."""
    try:
        yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        log.warning("partition.postponed", table=table)


def _dated(rows: list[asyncpg.Record], table: str) -> Iterator[tuple[str, datetime]]:
    for row in rows:
        name = str(row["relname"])
        date = name.removeprefix(f"{table}_p")
        if date != name and date.isdecimal():
            yield name, datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)


async def _leaving(db: Database, month: datetime, until: datetime) -> repository.Drop | None:
    """Return what is to be kept of the links of a month."""
    await db.execute("SELECT FROM audit_head FOR UPDATE")
    row = await db.fetchrow(
        "SELECT count(*) AS entries, max(position) AS last FROM audit_links WHERE log_at >= $1 AND log_at < $2",
        month,
        until,
    )
    if not row["entries"]:
        return None
    # The places after which a link of another time stands, and the very end of what leaves.
    ends = await db.fetch(
        "SELECT k.position, k.hash FROM audit_links k WHERE k.log_at >= $1 AND k.log_at < $2 AND (k.position = $3 OR "
        "EXISTS (SELECT FROM audit_links n WHERE n.position = k.position + 1 AND (n.log_at < $1 OR n.log_at >= $2))) "
        "ORDER BY k.position",
        month,
        until,
        row["last"],
    )
    kept = {end["position"]: end["hash"] for end in ends}
    return repository.Drop(month, row["entries"], Head(row["last"], kept[row["last"]]), kept)
