"""Schedules: made, changed, paused, and turned into jobs when they are due.

- A moment of a schedule has one job at most: a unique key says so, whoever asks and however often.
- The job, its devices and the next moment are one transaction: a process that dies in between did nothing.
- Of moments that passed while nobody looked, the newest is carried out and the others are counted as missed.
- A clock that was set back has moments come again: those that have a job keep it, the others get theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.jobs import ExecutionKind
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.jobs import rows, schedule_rows
from iotistic.control.jobs.model import OrderInvalid, Schedule, ScheduleInvalid, ScheduleUnknown
from iotistic.control.jobs.orders import Ordered, described, round_ends_at
from iotistic.control.jobs.placing import Connection, open_job
from iotistic.control.jobs.schedules import Rhythm, checked
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_MENDED_AT_ONCE = 100


class Schedules:
    """What recurs."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime], trail: Trail = NO_TRAIL) -> None:
        self._pool, self._clock, self._trail = pool, clock, trail

    async def add(self, ordered: Ordered) -> Schedule:
        """Keep a schedule. Raises ScheduleInvalid."""
        now = self._clock()
        if ordered.rhythm is None:
            raise OrderInvalid("a schedule has a rhythm")
        first = checked(ordered.rhythm, min(now, ordered.rhythm.begins_at))
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                made = await schedule_rows.add(
                    db,
                    ordered.order,
                    ordered.rhythm,
                    max_executions=ordered.max_executions,
                    next_due_at=first,
                    now=now,
                )
                subject, after = ("job-schedule", made.id), described(made.order)
                await self._trail.record(
                    db, made.order.created_by, "job_schedule.created", subject, after=after
                )
        log.info("job_schedule.created", schedule_id=str(made.id), by=made.order.created_by)
        return made

    async def is_one(self, schedule_id: UUID) -> bool:
        """Say whether there is such a schedule."""
        with database_errors():
            return await schedule_rows.find(self._pool, schedule_id) is not None

    async def find(self, schedule_id: UUID) -> Schedule:
        """Return a schedule. Raises ScheduleUnknown."""
        with database_errors():
            found = await schedule_rows.find(self._pool, schedule_id)
        if found is None:
            raise ScheduleUnknown(id=str(schedule_id))
        return found

    async def page(
        self, *, is_active: bool | None = None, after: tuple[datetime, UUID] | None = None, limit: int = 50
    ) -> list[Schedule]:
        """Return schedules, the newest first."""
        with database_errors():
            return await schedule_rows.page(self._pool, is_active=is_active, after=after, limit=limit)

    async def change(self, schedule_id: UUID, values: Mapping[str, Any], *, by: str) -> Schedule:
        """Change what is named: name, cron_expression or interval_s, time_zone, ends_at, max_executions, is_active.

        Moments count from now on: those of a pause are not made up for. Raises ScheduleUnknown, ScheduleInvalid.
        """
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await schedule_rows.find(db, schedule_id, for_update=True)
                if found is None:
                    raise ScheduleUnknown(id=str(schedule_id))
                changed = _changed(found, values)
                if changed.is_active:
                    changed = replace(changed, next_due_at=_next(changed, checked(_rhythm(changed), now)))
                await schedule_rows.save(db, changed, now)
                named = {name: str(value) for name, value in values.items()}
                subject = ("job-schedule", schedule_id)
                await self._trail.record(db, by, "job_schedule.changed", subject, after=named)
        log.info("job_schedule.changed", schedule_id=str(schedule_id), by=by, is_active=changed.is_active)
        return await self.find(schedule_id)

    async def remove(self, schedule_id: UUID, *, by: str) -> None:
        """Remove a schedule; jobs that it made stay and go on. Raises ScheduleUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if not await schedule_rows.remove(db, schedule_id):
                    raise ScheduleUnknown(id=str(schedule_id))
                await self._trail.record(db, by, "job_schedule.removed", ("job-schedule", schedule_id))
        log.info("job_schedule.removed", schedule_id=str(schedule_id), by=by)

    async def standing(self) -> Mapping[str, Any]:
        """Return figures of what is due."""
        with database_errors():
            return await schedule_rows.standing(self._pool, self._clock())

    async def fire(self) -> bool:
        """Carry out one schedule that is due; return whether there was one."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await schedule_rows.claim_due(db, now)
                if found is None:
                    return False
                await self._carry_out(db, found, now)
        return True

    async def mend(self) -> None:
        """Let schedules that are ahead of the clock be due when the clock says so."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                for found in await schedule_rows.claim_ahead(db, now, _MENDED_AT_ONCE):
                    # Another process may have carried it out since we looked at the clock.
                    now = self._clock()
                    if found.last_due_at is None or found.last_due_at <= now:
                        continue
                    due_at = _next(found, _rhythm(found).next_after(now))
                    if due_at is not None and (found.next_due_at is None or due_at < found.next_due_at):
                        log.warning("job_schedule.clock_set_back", schedule_id=str(found.id))
                        await schedule_rows.save(db, replace(found, next_due_at=due_at), now)

    async def _carry_out(self, db: Connection, found: Schedule, now: datetime) -> None:
        try:
            rhythm = _rhythm(found)
            due_at, missed = _due(found, rhythm, now)
            following = rhythm.next_after(due_at)
        except ScheduleInvalid as exc:  # a time zone that this machine does not know
            log.exception("job_schedule.stopped", schedule_id=str(found.id), reason=exc.message)
            await schedule_rows.save(db, replace(found, is_active=False), now)
            return
        job = await rows.add(
            db,
            found.order,
            ExecutionKind.RECURRING,
            starts_at=due_at,
            ends_at=round_ends_at(found.order, now),
            now=now,
            schedule_id=found.id,
            due_at=due_at,
        )
        is_made_up = job is not None and found.last_due_at is not None and due_at < found.last_due_at
        made = replace(
            found,
            executions=found.executions + (job is not None),
            missed=max(found.missed + missed - is_made_up, 0),
            last_due_at=max(due_at, found.last_due_at or due_at),
        )
        await schedule_rows.save(db, replace(made, next_due_at=_next(made, following)), now)
        if job is not None:
            await open_job(db, job, now)
            log.info("job_schedule.fired", schedule_id=str(found.id), job_id=str(job.id), missed=missed)


def _due(found: Schedule, rhythm: Rhythm, now: datetime) -> tuple[datetime, int]:
    """Return the moment that is carried out now, and how many it passes by that nobody passed by before."""
    first, last = found.next_due_at or now, found.last_due_at
    due_at, missed = rhythm.due(first, now)
    if last is None or first > last:
        return due_at, missed
    unseen = rhythm.next_after(last)
    return due_at, 0 if unseen is None or unseen > due_at else rhythm.due(unseen, now)[1]


def _next(schedule: Schedule, at: datetime | None) -> datetime | None:
    is_enough = schedule.max_executions is not None and schedule.executions >= schedule.max_executions
    return None if is_enough else at


def _rhythm(schedule: Schedule) -> Rhythm:
    return Rhythm(
        begins_at=schedule.begins_at,
        cron_expression=schedule.cron_expression,
        interval_s=schedule.interval_s,
        time_zone=schedule.time_zone,
        ends_at=schedule.ends_at,
    )


def _changed(found: Schedule, values: Mapping[str, Any]) -> Schedule:
    named = dict(values)
    if "name" in named:
        named["order"] = replace(found.order, name=named.pop("name"))
    if named.get("cron_expression") is not None:
        named["interval_s"] = None
    elif named.get("interval_s") is not None:
        named["cron_expression"] = None
    return replace(found, **named)
