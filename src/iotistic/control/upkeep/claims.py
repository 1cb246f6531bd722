"""Who runs what: takes what is due for this process, ends runs, and finds those that died with theirs.

- What is due is decided under the lock of the task's row, and written before any work begins.
- Of moments that passed while nobody looked one run is made; the others are counted in it.
- A run whose process says nothing for a lease is lost, and tried again; twice in a row, then at its next moment.
- Leases are by the database's clock, moments by this process's. A clock that was ahead delays nothing for ever:
  what is due later than its schedule says is brought back.
"""

import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from socket import gethostname

import asyncpg
import structlog

from iotistic.control.audit.port import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.upkeep import repository
from iotistic.control.upkeep.model import (
    End,
    Outcome,
    Run,
    Standing,
    Task,
    TaskInvalid,
    is_wrong,
    mended,
    next_due,
    retry_after,
    rhythm_of,
)
from iotistic.control.upkeep.settings import UpkeepSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_UNSEEN = timedelta(days=7)
_RETRY_MOST = timedelta(hours=1)
_MOST_TRIES = 1000


class Claims:
    """The claims of one process on the tasks that it can carry out."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        tasks: Sequence[Task],
        settings: UpkeepSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Raise TaskInvalid, ScheduleInvalid."""
        for task in tasks:
            task.check()
        self.tasks: Mapping[str, Task] = {
            task.name: task for task in sorted(tasks, key=lambda task: task.name)
        }
        if len(self.tasks) < len(tasks):
            raise TaskInvalid("two tasks have the same name")
        self._pool, self._settings, self._clock, self._chance = pool, settings, clock, chance
        # A process in a container has the number 1 each time.
        self._process = f"{gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"

    async def register(self) -> None:
        """Say which tasks there are and that somebody carries them out, and mend what is due too late."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                # In the order of their names, so that two processes never wait for each other.
                for task in self.tasks.values():
                    due_at = now if task.is_soon else self._next(task, now)
                    await repository.register(db, task, due_at=due_at, now=now)
                for standing in await repository.tasks(db):
                    if standing.name in self.tasks:
                        await _mend(db, standing, self.tasks[standing.name], now)
                await repository.forget_tasks(db, now - _UNSEEN)

    async def take(self, *, but: Sequence[str] = ()) -> Run | None:
        """Begin a run of what is due or asked for, `but` for some; None when there is nothing."""
        now, names = self._clock(), [name for name in self.tasks if name not in but]
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await repository.lock_due(db, names, now)
                return None if standing is None else await self._begin(db, standing, now)

    async def renew(self, run: Run) -> bool:
        """Say that a run goes on; False when it was taken for lost."""
        with database_errors():
            return await repository.renew(self._pool, run, self._settings.upkeep_lease_s)

    async def end(self, run: Run, end: End, *, duration_s: float) -> bool:
        """Write down what became of a run; False when it was taken for lost."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await repository.task(db, run.task, for_update=True)
                return standing is not None and await self._end(db, standing, run, end, duration_s=duration_s)

    async def recover(self) -> int:
        """End the runs that nobody renews; return how many."""
        count = 0
        with database_errors():
            while True:
                async with self._pool.acquire() as db, db.transaction():
                    standing = await repository.lock_over(db)
                    run = standing and await repository.open_run(db, standing.name)
                    if standing is None or run is None:
                        return count
                    end = End(
                        outcome=Outcome.LOST, error_code="upkeep.lost", error="its process said no more"
                    )
                    if not await self._end(db, standing, run, end, duration_s=None):
                        return count
                count += 1
                log.warning(
                    "task.lost", task=run.task, run_id=run.id, process=run.process, tries=standing.tries
                )

    async def _begin(self, db: Database, standing: Standing, now: datetime) -> Run | None:
        open_run = await repository.open_run(db, standing.name)
        if open_run is not None and open_run.outcome is Outcome.RUNNING:
            return None
        due_at, missed = None, 0
        next_due_at, last_due_at = standing.next_due_at, standing.last_due_at
        is_due = standing.is_enabled and standing.next_due_at <= now
        if is_due:
            due_at, missed = rhythm_of(standing.schedule).due(standing.next_due_at, now)
            next_due_at, last_due_at = self._next(self.tasks[standing.name], now), due_at
        await repository.reschedule(
            db,
            standing.name,
            next_due_at=next_due_at,
            last_due_at=last_due_at,
            retry_at=None,
            tries=standing.tries,
            is_enabled=standing.is_enabled,
        )
        return await repository.begin(
            db,
            standing.name,
            "schedule" if is_due else "retry",
            due_at=due_at,
            missed=missed,
            process=self._process,
            lease_s=self._settings.upkeep_lease_s,
            now=now,
        )

    def _next(self, task: Task, now: datetime) -> datetime:
        return next_due(task.schedule, now) + timedelta(seconds=self._chance() * task.spread_s)

    async def _end(
        self, db: Database, standing: Standing, run: Run, end: End, *, duration_s: float | None
    ) -> bool:
        now, is_over = self._clock(), end.outcome is Outcome.LOST
        if not await repository.finish(db, run, end, duration_s=duration_s, now=now, is_over=is_over):
            return False
        is_done = end.outcome is Outcome.SUCCEEDED
        tries = 0 if is_done else min(standing.tries + (end.outcome is not Outcome.STOPPED), _MOST_TRIES)
        await repository.reschedule(
            db,
            standing.name,
            next_due_at=standing.next_due_at,
            last_due_at=standing.last_due_at,
            retry_at=None if is_done else retry_after(end.outcome, tries, now),
            tries=tries,
            is_enabled=standing.is_enabled,
        )
        await repository.forget_runs(db, run.task, self._settings.upkeep_runs_kept)
        return True


async def _mend(db: Database, standing: Standing, task: Task, now: datetime) -> None:
    due_at = mended(standing, now, spread_s=task.spread_s)
    retry_at, last_due_at = standing.retry_at, standing.last_due_at
    is_retried_late = retry_at is not None and retry_at > now + _RETRY_MOST
    if due_at is None and not is_retried_late:
        return
    log.info("task.brought_back", task=standing.name, was_due_at=standing.next_due_at.isoformat())
    await repository.reschedule(
        db,
        standing.name,
        next_due_at=due_at or standing.next_due_at,
        last_due_at=None if last_due_at is None or is_wrong(last_due_at, now) else last_due_at,
        retry_at=now if is_retried_late else retry_at,
        tries=standing.tries,
        is_enabled=standing.is_enabled,
    )
