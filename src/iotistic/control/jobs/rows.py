"""Rows of jobs. Every function takes the connection: whoever calls decides on transactions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.devices.repository import Database
from iotistic.control.jobs.model import Job, Order, Summary
from iotistic.control.jobs.selection import kept_selection, write_selection

ORDER = "name, document, template_id, selection, scope, timeout_s, wait_s, attempts, backoff_s, lasts_s, created_by"
_JOB = (
    f"id, {ORDER}, execution_type, schedule_id, due_at, status, starts_at, opened_at, ends_at, reason, "
    "canceled_by, created_at, started_at, finished_at"
)
_COUNTED = ", ".join(
    f"count(*) FILTER (WHERE p.status = '{status.value}') AS {status.value.lower()}" for status in JobStatus
)
SUMMARY = f"SELECT {_COUNTED} FROM device_job_status p WHERE p.job_id = j.id"  # noqa: S608  constant
_OF_SUMMARY = [status.value.lower() for status in JobStatus]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which jobs a list is about; None is any. `after` is the place behind the newest that was seen."""

    scope: Sequence[UUID] | None = None
    status: JobStatus | None = None
    execution: ExecutionKind | None = None
    schedule_id: UUID | None = None
    template_id: UUID | None = None
    device: UUID | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 50
    offset: int = 0


def order_values(order: Order) -> list[object]:
    """Return an order in the order of its columns."""
    return [
        order.name,
        json.dumps(dict(order.document), separators=(",", ":")),
        order.template_id,
        json.dumps(write_selection(order.selection), separators=(",", ":")),
        order.scope,
        order.timeout_s,
        order.wait_s,
        order.attempts,
        order.backoff_s,
        order.lasts_s,
        order.created_by,
    ]


def order_of(row: Any) -> Order:
    """Return the order in a row."""
    return Order(
        name=row["name"],
        document=json.loads(row["document"]),
        template_id=row["template_id"],
        selection=kept_selection(json.loads(row["selection"])),
        scope=row["scope"],
        timeout_s=row["timeout_s"],
        wait_s=row["wait_s"],
        attempts=row["attempts"],
        backoff_s=row["backoff_s"],
        lasts_s=row["lasts_s"],
        created_by=row["created_by"],
    )


async def lock(db: Database, job_id: UUID) -> None:
    """Let nobody else choose or cancel the devices of a job until our transaction ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('job:' || $1::text, 0))", str(job_id))


async def lock_if_free(db: Database, job_id: UUID) -> bool:
    """Do the same as `lock`, unless somebody else has it."""
    return bool(
        await db.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('job:' || $1::text, 0))", str(job_id)
        )
    )


async def add(
    db: Database,
    order: Order,
    execution: ExecutionKind,
    *,
    starts_at: datetime,
    ends_at: datetime | None,
    now: datetime,
    schedule_id: UUID | None = None,
    due_at: datetime | None = None,
) -> Job | None:
    """Keep a job that has no devices yet; None when this moment of its schedule has one already."""
    row = await db.fetchrow(
        f"INSERT INTO job_executions ({ORDER}, execution_type, schedule_id, due_at, starts_at, ends_at, "  # noqa: S608  constant
        "created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) "
        f"ON CONFLICT (schedule_id, due_at) DO NOTHING RETURNING {_JOB}",
        *order_values(order),
        execution.value,
        schedule_id,
        due_at,
        starts_at,
        ends_at,
        now,
    )
    return _job(row) if row else None


async def find(db: Database, job_id: UUID, scope: Sequence[UUID] | None = None) -> Job | None:
    """Return a job with its summary; with a scope, only one that has a device in it."""
    row = await db.fetchrow(
        f"SELECT {_JOB}, s.* FROM job_executions j CROSS JOIN LATERAL ({SUMMARY}) s WHERE j.id = $1 "  # noqa: S608  constant
        "AND ($2::uuid[] IS NULL OR EXISTS (SELECT 1 FROM device_job_status p "
        "WHERE p.job_id = j.id AND p.device_uuid = ANY($2)))",
        job_id,
        None if scope is None else list(scope),
    )
    return _job(row) if row else None


async def page(db: Database, wanted: Wanted) -> list[Job]:
    """Return jobs with their summaries, the newest first."""
    after = wanted.after or (None, None)
    rows = await db.fetch(
        f"SELECT {_JOB}, s.* FROM (SELECT * FROM job_executions j "  # noqa: S608  constant
        "WHERE ($1::uuid[] IS NULL OR EXISTS (SELECT 1 FROM device_job_status p "
        "WHERE p.job_id = j.id AND p.device_uuid = ANY($1))) "
        "AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR execution_type = $3) "
        "AND ($4::uuid IS NULL OR schedule_id = $4) AND ($5::uuid IS NULL OR template_id = $5) "
        "AND ($6::uuid IS NULL OR EXISTS (SELECT 1 FROM device_job_status p "
        "WHERE p.job_id = j.id AND p.device_uuid = $6)) "
        "AND ($7::timestamptz IS NULL OR (created_at, id) < ($7, $8::uuid)) "
        "ORDER BY created_at DESC, id DESC LIMIT $9 OFFSET $10) j "
        f"CROSS JOIN LATERAL ({SUMMARY}) s ORDER BY j.created_at DESC, j.id DESC",
        None if wanted.scope is None else list(wanted.scope),
        wanted.status and wanted.status.value,
        wanted.execution and wanted.execution.value,
        wanted.schedule_id,
        wanted.template_id,
        wanted.device,
        *after,
        wanted.limit,
        wanted.offset,
    )
    return [_job(row) for row in rows]


async def unopened(db: Database, now: datetime, limit: int) -> list[UUID]:
    """Return jobs whose devices are to be chosen now."""
    rows = await db.fetch(
        "SELECT id FROM job_executions WHERE opened_at IS NULL AND finished_at IS NULL AND starts_at <= $1 "
        "ORDER BY starts_at LIMIT $2",
        now,
        limit,
    )
    return [row["id"] for row in rows]


async def continuous(db: Database, after: UUID | None, limit: int) -> list[Job]:
    """Return jobs that devices may still join, by id."""
    rows = await db.fetch(
        f"SELECT {_JOB} FROM job_executions WHERE opened_at IS NOT NULL AND finished_at IS NULL "  # noqa: S608  constant
        "AND execution_type = 'continuous' AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [_job(row) for row in rows]


async def remove(db: Database, job_id: UUID) -> None:
    """Remove a job with all its parts."""
    await db.execute("DELETE FROM job_executions WHERE id = $1", job_id)


async def forget(db: Database, before: datetime, limit: int) -> int:
    """Remove jobs that were over before a time; return how many."""
    done = await db.execute(
        "DELETE FROM job_executions WHERE id IN (SELECT id FROM job_executions WHERE finished_at < $1 "
        "ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        limit,
    )
    return int(done.split()[-1])


def summary_of(row: Any) -> Summary:
    """Return the counts in a row."""
    return Summary(**{name: row[name] for name in _OF_SUMMARY})


def _job(row: Any) -> Job:
    return Job(
        id=row["id"],
        order=order_of(row),
        execution=ExecutionKind(row["execution_type"]),
        schedule_id=row["schedule_id"],
        due_at=row["due_at"],
        status=JobStatus(row["status"]),
        starts_at=row["starts_at"],
        opened_at=row["opened_at"],
        ends_at=row["ends_at"],
        reason=row["reason"],
        canceled_by=row["canceled_by"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        summary=summary_of(row) if _OF_SUMMARY[0] in row else Summary(),
    )
