"""What people see of the list, and drive: run a task now, switch it off and on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.audit.port import NO_TRAIL, Actor, Trail
from iotistic.control.devices.service import utc_now
from iotistic.control.upkeep import repository
from iotistic.control.upkeep.model import (
    End,
    Outcome,
    Run,
    RunUnknown,
    Standing,
    TaskElsewhere,
    TaskRunning,
    TaskUnknown,
    Watched,
    next_due,
)
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOOK_WITHIN_S = 5.0
_SEEN_WITHIN = timedelta(minutes=3)
_OVERDUE = timedelta(minutes=5)
_MOST_ID = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A task with its open run and its last one."""

    standing: Standing
    open_run: Run | None = None
    last_run: Run | None = None
    is_seen: bool = True
    """Whether a process said lately that it carries it out."""
    is_overdue: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Work of another process, and its figures; `fault` when they could not be had."""

    watched: Watched
    figures: Mapping[str, object]
    fault: End | None = None


class UpkeepService:
    """The use cases around the list."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        watched: Sequence[Watched] = (),
        *,
        trail: Trail = NO_TRAIL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._trail, self._clock = pool, trail, clock
        self._watched = {one.name: one for one in watched}

    async def tasks(self) -> list[Listed]:
        """Return every task by its name."""
        now = self._clock()
        with database_errors():
            standings = await repository.tasks(self._pool)
            newest = await repository.newest(self._pool)
        return [_listed(one, newest.get(one.name, []), now) for one in standings]

    async def task(self, name: str) -> Listed:
        """Return a task. Raises TaskUnknown, TaskElsewhere."""
        self._check(name)
        for one in await self.tasks():
            if one.standing.name == name:
                return one
        raise TaskUnknown(hint="GET /tasks, or `iotistic tasks list`, names them", name=name[:100])

    async def watched(self) -> list[Seen]:
        """Return what other processes do, with its figures."""
        return [await self._look(one) for one in self._watched.values()]

    async def elsewhere(self, name: str) -> Seen | None:
        """Return work of another process by its name; None when it is none."""
        found = self._watched.get(name)
        return None if found is None else await self._look(found)

    async def runs(self, name: str, *, before: int | None = None, limit: int = 20) -> list[Run]:
        """Return runs of a task, the newest first."""
        with database_errors():
            return await repository.runs(self._pool, name, before=before, limit=limit)

    async def run(self, name: str, run_id: int) -> Run:
        """Return one run. Raises RunUnknown."""
        found = None
        if 0 < run_id <= _MOST_ID:
            with database_errors():
                found = await repository.find_run(self._pool, name, run_id)
        if found is None:
            raise RunUnknown(hint="GET /tasks/{name} lists the newest", name=name[:100], id=run_id)
        return found

    async def ask(self, name: str, *, by: Actor | str) -> Run:
        """Have a task run now, also one that is switched off; the run that waits already is the answer, too.

        Raises TaskUnknown, TaskRunning, TaskElsewhere.
        """
        self._check(name)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await self._locked(db, name)
                found = await repository.open_run(db, name)
                if found is not None and found.outcome is Outcome.WAITING:
                    return found
                if found is not None:
                    raise TaskRunning(hint="ask again when this run is over", name=name, run_id=found.id)
                asked = await repository.ask(db, name, _name(by), now)
                await self._trail.record(db, by, "task.asked", ("task", name), details={"run_id": asked.id})
        log.info("task.asked", task=name, run_id=asked.id, by=_name(by))
        return asked

    async def toggle(self, name: str, is_enabled: bool | None, *, by: Actor | str) -> Listed:
        """Switch a task off or on; None: to the other. What passed while it was off is not made up for.

        Raises TaskUnknown, TaskElsewhere.
        """
        self._check(name)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await self._locked(db, name)
                wanted = (not standing.is_enabled) if is_enabled is None else is_enabled
                if wanted != standing.is_enabled:
                    await self._switch(db, standing, wanted, now)
                    action = "task.enabled" if wanted else "task.disabled"
                    await self._trail.record(db, by, action, ("task", name))
                    log.info(action, task=name, by=_name(by))
        return await self.task(name)

    async def _switch(
        self, db: repository.Database, standing: Standing, is_enabled: bool, now: datetime
    ) -> None:
        changed = replace(standing, is_enabled=is_enabled, retry_at=None, tries=0)
        await repository.reschedule(
            db,
            standing.name,
            next_due_at=next_due(standing.schedule, now) if is_enabled else standing.next_due_at,
            last_due_at=standing.last_due_at,
            retry_at=changed.retry_at,
            tries=changed.tries,
            is_enabled=changed.is_enabled,
        )

    async def _locked(self, db: repository.Database, name: str) -> Standing:
        found = await repository.task(db, name, for_update=True) if "\0" not in name else None
        if found is None:
            raise TaskUnknown(hint="GET /tasks, or `iotistic tasks list`, names them", name=name[:100])
        return found

    def _check(self, name: str) -> None:
        if name in self._watched:
            where = self._watched[name].where
            raise TaskElsewhere(
                hint=f"it is done by `iotistic {where}`, see its log and its metrics", name=name
            )

    async def _look(self, watched: Watched) -> Seen:
        try:
            async with asyncio.timeout(_LOOK_WITHIN_S):
                with database_errors():
                    return Seen(watched=watched, figures=await watched.look())
        except (asyncpg.PostgresError, TimeoutError) as exc:
            return Seen(watched=watched, figures={}, fault=End.failed(exc))


def _listed(standing: Standing, runs: Sequence[Run], now: datetime) -> Listed:
    open_run = next((run for run in runs if run.finished_at is None), None)
    due_at = standing.next_run_at
    return Listed(
        standing=standing,
        open_run=open_run,
        last_run=next((run for run in runs if run.finished_at is not None), None),
        is_seen=standing.seen_at > now - _SEEN_WITHIN,
        is_overdue=open_run is None and due_at is not None and due_at < now - _OVERDUE,
    )


def _name(by: Actor | str) -> str:
    return by if isinstance(by, str) else by.name
