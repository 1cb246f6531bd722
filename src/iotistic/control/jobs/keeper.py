"""What time brings to jobs: those that are due start, those that are late end, devices that join get theirs.

Any number of processes may run this. Each piece of work is a transaction over rows that the others pass by
(SKIP LOCKED), so that one which dies has done a piece or nothing, and another one goes on.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.jobs import due_parts, metrics, part_rows, rows, settling
from iotistic.control.jobs.arrivals import late
from iotistic.control.jobs.messages import Announcer
from iotistic.control.jobs.placing import join_job, start_job
from iotistic.control.jobs.scheduling import Schedules
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_AT_ONCE = 100
_FORGET_EVERY_S = 3600.0
_STAND_EVERY_S = 15.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 15.0


class JobKeeper:
    """Looks after the jobs of one database until it is stopped. Without an announcer devices hear by polling."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: JobDeskSettings,
        schedules: Schedules,
        *,
        clock: Callable[[], datetime],
        announcer: Announcer | None = None,
        forgets: bool = True,
    ) -> None:
        """`forgets`: whether `run` calls `forget` too; False where somebody else does."""
        self._forgets = forgets
        self._pool, self._settings, self._schedules, self._clock = pool, settings, schedules, clock
        self._announcer = announcer
        self._grace_s = settings.job_report_grace_minutes * 60
        self._stopping = asyncio.Event()
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Run until `stop` is called; returns when the pieces in hand are done."""
        if not self._settings.job_scheduler_enabled:
            await self._stopping.wait()
            return
        round_s = self._settings.job_scheduler_round_s
        loops: dict[str, tuple[Callable[[], Awaitable[object]], float]] = {
            "start": (self.start, round_s),
            "schedule": (self.schedule, round_s),
            "expire": (self.expire, round_s),
            "settle": (self.settle, self._settings.job_join_round_s),
            "join": (self.join, self._settings.job_join_round_s),
            "tell": (self.tell, round_s),
            "stand": (self.stand, _STAND_EVERY_S),
        }
        if self._forgets:
            loops["forget"] = (self.forget, _FORGET_EVERY_S)
        async with asyncio.TaskGroup() as tasks:
            for name, (work, every_s) in loops.items():
                tasks.create_task(self._repeat(name, work, every_s))

    def stop(self) -> None:
        """Take up no further piece."""
        self._stopping.set()

    async def start(self) -> None:
        """Open the jobs whose time has come."""
        with database_errors():
            for job_id in await rows.unopened(self._pool, self._clock(), _AT_ONCE):
                async with self._pool.acquire() as db, db.transaction():
                    await start_job(db, job_id, self._clock())

    async def schedule(self) -> None:
        """Make jobs of the schedules that are due."""
        await self._schedules.mend()
        while not self._stopping.is_set() and await self._schedules.fire():
            pass

    async def expire(self) -> None:
        """End or try again what is over its deadline."""
        while not self._stopping.is_set() and await self._expire_some() == _AT_ONCE:
            pass

    async def settle(self) -> None:
        """End jobs that are over and do not know it, since their last devices were removed."""
        now = self._clock()
        with database_errors():
            for job_id in await settling.unsettled(self._pool, now, _AT_ONCE):
                async with self._pool.acquire() as db, db.transaction():
                    await settling.settle(db, job_id, now)

    async def join(self) -> None:
        """Give continuous jobs to devices that are selected now and were not."""
        after: UUID | None = None
        while not self._stopping.is_set():
            with database_errors():
                found = await rows.continuous(self._pool, after, _AT_ONCE)
                for job in found:
                    async with self._pool.acquire() as db, db.transaction():
                        await join_job(db, job, self._clock())
            if len(found) < _AT_ONCE:
                return
            after = found[-1].id

    async def tell(self) -> None:
        """Tell devices over MQTT what they do not know yet."""
        while (
            self._announcer is not None and not self._stopping.is_set() and await self._announcer.announce()
        ):
            pass

    async def stand(self) -> None:
        """Show how parts stand in the figures of this process."""
        with database_errors():
            metrics.stand(await due_parts.standing(self._pool, self._clock()))

    async def forget(self) -> int:
        """Remove jobs that have been over for long; return how many."""
        total = 0
        before = self._clock() - timedelta(days=self._settings.job_retention_days)
        with database_errors():
            while not self._stopping.is_set() and (count := await rows.forget(self._pool, before, _AT_ONCE)):
                total += count
        return total

    async def _expire_some(self) -> int:
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                claimed = await due_parts.claim_late(db, now, _AT_ONCE, grace_s=self._grace_s)
                after = [(row, late(row.part, now, row.terms)) for row in claimed if row.terms is not None]
                for row, part in after:
                    await part_rows.save(db, row, part)
                # In the order of their ids, so that two of us never wait for each other.
                for job_id in sorted({row.job_id for row in claimed}):
                    await settling.settle(db, job_id, now)
        for row, part in after:
            metrics.changed(row.part, part)
        if claimed:
            log.info("job.parts_late", parts=len(claimed))
        return len(claimed)

    async def _repeat(self, name: str, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                await work()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                self._note_failure(name, exc)
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                self._failing.discard(name)
                pause_s = _RETRY_FIRST_S
                await self._rest(every_s)

    def _note_failure(self, name: str, exc: Exception) -> None:
        code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
        if name not in self._failing:
            log.warning("job_keeper.failed", loop=name, code=code, reason=str(exc))
        self._failing.add(name)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
