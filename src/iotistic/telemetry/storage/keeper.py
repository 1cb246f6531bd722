"""The two loops of storage maintenance: rolling every few seconds, housekeeping every hour.

They share nothing but the pool, so that a drop which waits for readers delays no rollup. A failure of
the database ends no loop: it is counted and logged once, and tried again with growing pauses; everything
that was under way has been rolled back.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import structlog

from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.postgres.pool import database_errors
from iotistic.telemetry.storage.late import merge_late
from iotistic.telemetry.storage.metrics import FAILURES, HOUSEKEEPING_SECONDS, LAG, LATE_MERGED, PENDING
from iotistic.telemetry.storage.retention import Housekeeping, keep_house
from iotistic.telemetry.storage.roller import Roller, Round, roll_due
from iotistic.telemetry.storage.settings import RetentionSettings, RollupSettings

log = structlog.get_logger()

_HOUSEKEEPING_EVERY_S = 3600.0
_RETRY_FIRST_S = 0.5
_RETRY_MOST_S = 5.0
# Counting stops here: a backlog of days must not be counted every five seconds.
_COUNT_UP_TO = 100_000

# What too much work at once may end in. (A server that was away says nothing about the amount.)
_TOO_MUCH = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.InsufficientResourcesError)

_FIGURES = f"""
SELECT extract(epoch FROM $1 - rolled_until)::float8 AS minutes_lag,
       extract(epoch FROM $1 - hours_rolled_until)::float8 AS hours_lag,
       (SELECT count(*) FROM (SELECT FROM rollup_pending WHERE device_id IS NULL LIMIT {_COUNT_UP_TO}) t) AS fresh,
       (SELECT count(*) FROM (SELECT FROM rollup_pending WHERE device_id IS NOT NULL LIMIT {_COUNT_UP_TO}) t) AS late,
       (SELECT count(*) FROM (SELECT FROM rollup_pending_hours LIMIT {_COUNT_UP_TO}) t) AS hours
FROM rollup_state
"""  # noqa: S608  the only insertion is the constant above


class RollupFailing(Unavailable):
    """The last attempt to keep the storage failed."""

    code = "maintenance.failing"


def utc_now() -> datetime:
    """Return the present, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one whole run did."""

    rolled: Round
    house: Housekeeping


class Keeper:
    """Keeps partitions, rollups and retention of one database."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        rollups: RollupSettings,
        retention: RetentionSettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool = pool
        self._rollups = rollups
        self._retention = retention
        self._clock = clock
        self._roller = Roller(pool, rollups)
        self._stopping = asyncio.Event()
        self._failures: dict[str, str] = {}

    async def run_once(self) -> Maintained:
        """Do everything that is due now, once; errors are the caller's. Raises DatabaseUnavailable."""
        with database_errors():
            rolled = await self._roll()
            return Maintained(rolled, await keep_house(self._pool, self._retention, self._clock()))

    async def run(self) -> None:
        """Keep the storage until `stop` is called; returns when the transaction in hand is done."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat("roll", self._roll_carefully, self._rollups.rollup_interval_s))
            tasks.create_task(self._repeat("house", self._keep_house, _HOUSEKEEPING_EVERY_S))

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def check(self) -> None:
        """Raise RollupFailing while a loop cannot do its work."""
        if self._failures:
            raise RollupFailing("; ".join(f"{loop}: {reason}" for loop, reason in self._failures.items()))

    async def _repeat(self, name: str, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                with database_errors():
                    await work()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                self._note_failure(name, exc)
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                self._note_success(name)
                pause_s = _RETRY_FIRST_S
                await self._rest(every_s)

    def _note_success(self, name: str) -> None:
        if self._failures.pop(name, None):
            log.info("maintenance.recovered", loop=name)

    def _note_failure(self, name: str, exc: Exception) -> None:
        code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
        FAILURES.labels(code).inc()
        if self._failures.get(name) != code:
            log.warning("maintenance.failed", loop=name, code=code, reason=str(exc))
        self._failures[name] = code

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _roll_carefully(self) -> None:
        try:
            await self._roll()
        except _TOO_MUCH:
            self._roller.careful = True
            raise
        self._roller.careful = False

    async def _roll(self) -> Round:
        LATE_MERGED.inc(await merge_late(self._pool, timeout_s=self._rollups.rollup_timeout_s))
        now = self._clock()
        done = await roll_due(
            self._roller,
            now,
            go_on=lambda: not self._stopping.is_set(),
            # One transaction that worked ends a failure: a backlog may take many more.
            on_done=lambda: self._note_success("roll"),
        )
        figures = await self._pool.fetchrow(_FIGURES, now)
        if figures is not None:
            LAG.labels("1m").set(figures["minutes_lag"])
            LAG.labels("1h").set(figures["hours_lag"])
            for kind in ("fresh", "late", "hours"):
                PENDING.labels(kind).set(figures[kind])
        return done

    async def _keep_house(self) -> None:
        with HOUSEKEEPING_SECONDS.time():
            await keep_house(self._pool, self._retention, self._clock())
