"""Rows of schedules. Every function takes the connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.jobs.model import Order, Schedule
from iotistic.control.jobs.rows import ORDER, order_of, order_values
from iotistic.control.jobs.schedules import Rhythm

_OF_ITS_OWN = (
    "cron_expression, interval_s, time_zone, begins_at, ends_at, max_executions, executions, missed, is_active, "
    "next_due_at, last_due_at, created_at, updated_at"
)
_SCHEDULE = f"id, {ORDER}, {_OF_ITS_OWN}"


async def add(
    db: Database,
    order: Order,
    rhythm: Rhythm,
    *,
    max_executions: int | None,
    next_due_at: datetime,
    now: datetime,
) -> Schedule:
    """Keep a schedule."""
    row = await db.fetchrow(
        f"INSERT INTO scheduled_jobs ({ORDER}, cron_expression, interval_s, time_zone, begins_at, ends_at, "  # noqa: S608  constant
        "max_executions, next_due_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, "
        f"$11, $12, $13, $14, $15, $16, $17, $18, $19, $19) RETURNING {_SCHEDULE}",
        *order_values(order),
        rhythm.cron_expression,
        rhythm.interval_s,
        rhythm.time_zone,
        rhythm.begins_at,
        rhythm.ends_at,
        max_executions,
        next_due_at,
        now,
    )
    return _schedule(row)


async def find(db: Database, schedule_id: UUID, *, for_update: bool = False) -> Schedule | None:
    """Return a schedule."""
    row = await db.fetchrow(
        f"SELECT {_SCHEDULE} FROM scheduled_jobs WHERE id = $1" + (" FOR UPDATE" if for_update else ""),  # noqa: S608  constant
        schedule_id,
    )
    return _schedule(row) if row else None


async def page(
    db: Database, *, is_active: bool | None, after: tuple[datetime, UUID] | None, limit: int
) -> list[Schedule]:
    """Return schedules, the newest first."""
    rows = await db.fetch(
        f"SELECT {_SCHEDULE} FROM scheduled_jobs WHERE ($1::boolean IS NULL OR is_active = $1) "  # noqa: S608  constant
        "AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid)) "
        "ORDER BY created_at DESC, id DESC LIMIT $4",
        is_active,
        *(after or (None, None)),
        limit,
    )
    return [_schedule(row) for row in rows]


async def save(db: Database, schedule: Schedule, now: datetime) -> None:
    """Keep what may change of a schedule."""
    await db.execute(
        "UPDATE scheduled_jobs SET name = $2, cron_expression = $3, interval_s = $4, time_zone = $5, ends_at = $6, "
        "max_executions = $7, executions = $8, missed = $9, is_active = $10, next_due_at = $11, last_due_at = $12, "
        "updated_at = $13 WHERE id = $1",
        schedule.id,
        schedule.order.name,
        schedule.cron_expression,
        schedule.interval_s,
        schedule.time_zone,
        schedule.ends_at,
        schedule.max_executions,
        schedule.executions,
        schedule.missed,
        schedule.is_active,
        schedule.next_due_at,
        schedule.last_due_at,
        now,
    )


async def remove(db: Database, schedule_id: UUID) -> bool:
    """Remove a schedule; its jobs stay. Tell whether it was there."""
    return await db.execute("DELETE FROM scheduled_jobs WHERE id = $1", schedule_id) == "DELETE 1"


async def claim_due(db: Database, now: datetime) -> Schedule | None:
    """Return a schedule that is due, for the caller's transaction alone."""
    row = await db.fetchrow(
        f"SELECT {_SCHEDULE} FROM scheduled_jobs WHERE is_active AND next_due_at <= $1 "  # noqa: S608  constant
        "ORDER BY next_due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        now,
    )
    return _schedule(row) if row else None


async def claim_ahead(db: Database, now: datetime, limit: int) -> list[Schedule]:
    """Return schedules that were carried out at a moment that is still to come: the clock was set back."""
    rows = await db.fetch(
        f"SELECT {_SCHEDULE} FROM scheduled_jobs WHERE is_active AND last_due_at > $1 "  # noqa: S608  constant
        "ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        limit,
    )
    return [_schedule(row) for row in rows]


async def standing(db: Database, now: datetime) -> Mapping[str, Any]:
    """Return figures of the scheduler in one query."""
    row = await db.fetchrow(
        "SELECT (SELECT count(*) FROM scheduled_jobs WHERE is_active) AS active_schedules, "
        "(SELECT min(next_due_at) FROM scheduled_jobs WHERE is_active) AS next_due_at, "
        "(SELECT count(*) FROM scheduled_jobs WHERE is_active AND next_due_at <= $1) AS due_schedules, "
        "(SELECT count(*) FROM job_executions WHERE opened_at IS NULL AND finished_at IS NULL "
        "AND starts_at <= $1) AS due_jobs, "
        "(SELECT count(*) FROM device_job_status WHERE finished_at IS NULL AND deadline <= $1) AS late_parts",
        now,
    )
    return dict(row)


def _schedule(row: Any) -> Schedule:
    own = {name: row[name] for name in _OF_ITS_OWN.split(", ")}
    return Schedule(id=row["id"], order=order_of(row), **own)
