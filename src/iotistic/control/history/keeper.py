"""Makes partitions ahead, drops old ones, clears away what removed devices left; in the maintenance process.

Safe in several processes. A partition that readers hold waits for the next round: a drop that waited for them
would make all others wait behind it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.history.partitions import (
    HISTORIES,
    LOG_ARRIVALS,
    LOGS,
    METRICS,
    PROCESSES,
    day_of,
    days_ahead,
    ensure,
)
from iotistic.control.history.settings import HistorySettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_EVERY_S = 60.0
_ROUNDS_A_DAY_CHECK = 10
_BATCH = 5000
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"


@dataclass(slots=True)
class Kept:
    """What one round did; partitions by name, leftovers by rows."""

    made: int = 0
    dropped: list[str] = field(default_factory=list[str])
    postponed: list[str] = field(default_factory=list[str])
    cleared: int = 0


class HistoryKeeper:
    """Keeps the histories of one database until it is stopped."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: HistorySettings,
        *,
        keeps: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`keeps`: whether `run` calls `keep` too; False where somebody else does."""
        self._keeps = keeps
        self._pool, self._clock = pool, clock
        self._days = {
            METRICS: settings.device_metrics_days,
            PROCESSES: settings.device_processes_days,
            LOGS: settings.device_logs_days,
            LOG_ARRIVALS: settings.device_logs_days,
        }
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Run until `stop` is called."""
        rounds = 0
        while not self._stopping.is_set():
            try:
                await self.clear()
                if self._keeps and rounds % _ROUNDS_A_DAY_CHECK == 0:
                    await self.keep()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                if not self._is_failing:
                    log.warning("history.failed", reason=str(exc))
                self._is_failing = True
            else:
                rounds, self._is_failing = rounds + 1, False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Take up no further round."""
        self._stopping.set()

    async def keep(self) -> Kept:
        """Make partitions and drop old ones; return what was done."""
        now, kept = self._clock(), Kept()
        with database_errors():
            for parent, days in self._days.items():
                kept.made += await ensure(self._pool, parent, days_ahead(now))
                # A day more: a line may be as old as the limit when it comes, and its day older by most of a day.
                await self._drop(parent, now - timedelta(days=days + 1), kept)
        return kept

    async def clear(self) -> int:
        """Remove what removed devices left, in batches; return how many rows."""
        total = 0
        with database_errors():
            while not self._stopping.is_set():
                async with self._pool.acquire() as db, db.transaction():
                    number = await db.fetchval(
                        "SELECT device_number FROM device_leftovers ORDER BY left_at LIMIT 1 FOR UPDATE SKIP LOCKED"
                    )
                    if number is None:
                        break
                    removed = [await _remove(db, parent, number) for parent in HISTORIES]
                    if not any(removed):
                        await db.execute("DELETE FROM device_log_services WHERE device_number = $1", number)
                        await db.execute("DELETE FROM device_leftovers WHERE device_number = $1", number)
                    total += sum(removed)
        return total

    async def _drop(self, parent: str, before: datetime, kept: Kept) -> None:
        names = await self._pool.fetch(
            "SELECT * FROM device_partitions_before($1, $2)", parent, day_of(before)
        )
        for (name,) in names:
            try:
                async with self._pool.acquire() as db, db.transaction():
                    await db.execute(_LOCK_TIMEOUT)
                    # The name was read from the catalogue, and holds digits only behind that of a history.
                    await db.execute(f"DROP TABLE IF EXISTS {name}")
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                kept.postponed.append(name)
            else:
                log.info("partition.dropped", partition=name)
                kept.dropped.append(name)


async def _remove(db: Database, parent: str, number: int) -> int:
    done = await db.execute(
        f"DELETE FROM {parent} WHERE device_number = $1 AND at IN "  # noqa: S608  one of HISTORIES
        f"(SELECT at FROM {parent} WHERE device_number = $1 ORDER BY at LIMIT $2)",
        number,
        _BATCH,
    )
    return int(done.rpartition(" ")[2])
