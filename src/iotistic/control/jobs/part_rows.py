"""Rows of parts: one job on one device. Every function takes the connection."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.contracts.jobs import JobStatus
from iotistic.control.devices.repository import Database
from iotistic.control.jobs.arrivals import Part, Terms
from iotistic.control.jobs.model import Job
from iotistic.control.jobs.selection import Statement

PART = (
    "p.job_id, p.device_uuid, p.status, p.attempt, p.version, p.queued_at, p.available_at, p.deadline, p.handed_at, "
    "p.started_at, p.finished_at, p.reason, p.exit_code, p.stdout, p.stderr, p.executed_steps, p.failed_step, "
    "p.details, p.said, p.is_numbered, p.notify_at"
)
TERMS = "j.timeout_s, j.wait_s, j.attempts, j.backoff_s, j.ends_at"
_SHORT = (
    PART.replace("p.stdout", "left(p.stdout, $5) AS stdout").replace(
        "p.stderr", "left(p.stderr, $5) AS stderr"
    )
    + ", length(p.stdout) AS stdout_length, length(p.stderr) AS stderr_length"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRow:
    """A part with what names it."""

    job_id: UUID
    device_uuid: UUID
    part: Part
    version: int
    queued_at: datetime
    handed_at: datetime | None
    terms: Terms | None = None
    job_name: str = ""
    document: str = ""
    """JSON text."""
    stdout_length: int | None = None
    stderr_length: int | None = None
    """In characters, where outputs were read in part."""


async def add_selected(db: Database, job: Job, now: datetime, *, notify: bool = True) -> int:
    """Give a job to the devices that are selected now and do not have it yet; return how many."""
    order = job.order
    deadline = now + timedelta(seconds=order.wait_s)
    deadline = deadline if job.ends_at is None else min(deadline, job.ends_at)
    statement = Statement(job.id, now, deadline, now if notify else None)
    selected = statement.selected(order.selection, order.scope)
    done = await db.execute(
        "INSERT INTO device_job_status (job_id, device_uuid, queued_at, available_at, deadline, notify_at) "  # noqa: S608  places only
        "SELECT $1, d.uuid, $2, $2, $3, $4 FROM fleet_devices d "
        f"WHERE {selected} AND NOT EXISTS (SELECT 1 FROM device_job_status p "
        "WHERE p.job_id = $1 AND p.device_uuid = d.uuid) ORDER BY d.uuid "
        # A device that is being removed is waited for, and left out if it is gone then.
        "FOR KEY SHARE OF d ON CONFLICT DO NOTHING",
        *statement.parameters,
    )
    return int(done.split()[-1])


_ONE = (
    f"SELECT {PART}, {TERMS} FROM device_job_status p JOIN job_executions j ON j.id = p.job_id "  # noqa: S608  constant
    "WHERE p.job_id = $2 AND p.device_uuid = $1"
)


async def find(db: Database, device: UUID, job_id: UUID) -> PartRow | None:
    """Return a part."""
    row = await db.fetchrow(_ONE, device, job_id)
    return part_row(row, grace_s=0) if row else None


async def hold(db: Database, device: UUID, job_id: UUID, *, grace_s: float) -> PartRow | None:
    """Return a part that nobody else changes until our transaction ends."""
    row = await db.fetchrow(f"{_ONE} FOR UPDATE OF p", device, job_id)
    return part_row(row, grace_s=grace_s) if row else None


async def save(db: Database, row: PartRow, part: Part) -> int:
    """Keep a part as it is now; return its version."""
    return int(
        await db.fetchval(
            "UPDATE device_job_status SET status = $3, attempt = $4, available_at = $5, deadline = $6, "
            "started_at = $7, finished_at = $8, reason = $9, exit_code = $10, stdout = $11, stderr = $12, "
            "executed_steps = $13, failed_step = $14, details = $15, said = $16, is_numbered = $17, "
            "notify_at = $18, handed_at = CASE WHEN attempt = $4 THEN handed_at END, version = version + 1 "
            "WHERE job_id = $1 AND device_uuid = $2 RETURNING version",
            row.job_id,
            row.device_uuid,
            part.status.value,
            part.attempt,
            part.available_at,
            part.deadline,
            part.started_at,
            part.finished_at,
            part.reason,
            part.exit_code,
            part.stdout,
            part.stderr,
            part.executed_steps,
            part.failed_step,
            json.dumps(dict(part.details)),
            part.said and part.said.value,
            part.is_numbered,
            part.notify_at,
        )
    )


async def cancel_open(db: Database, job_id: UUID, now: datetime, reason: str) -> int:
    """Cancel every part of a job that is not over, as `arrivals.cancelled` does; return how many."""
    done = await db.execute(
        "UPDATE device_job_status p SET status = 'CANCELED', finished_at = $2, reason = $3, notify_at = $2, "
        "said = NULL, version = version + 1 FROM (SELECT device_uuid FROM device_job_status "
        "WHERE job_id = $1 AND finished_at IS NULL ORDER BY device_uuid FOR UPDATE) o "
        "WHERE p.job_id = $1 AND p.device_uuid = o.device_uuid",
        job_id,
        now,
        reason,
    )
    return int(done.split()[-1])


async def of_job(
    db: Database,
    job_id: UUID,
    *,
    scope: Sequence[UUID] | None,
    status: JobStatus | None,
    after: UUID | None,
    most_output: int,
    limit: int,
) -> list[PartRow]:
    """Return parts of a job by device, with the beginnings of their outputs."""
    rows = await db.fetch(
        f"SELECT {_SHORT} FROM device_job_status p WHERE p.job_id = $1 "  # noqa: S608  constant
        "AND ($2::uuid[] IS NULL OR p.device_uuid = ANY($2)) AND ($3::text IS NULL OR p.status = $3) "
        "AND ($4::uuid IS NULL OR p.device_uuid > $4) ORDER BY p.device_uuid LIMIT $6",
        job_id,
        None if scope is None else list(scope),
        status and status.value,
        after,
        most_output,
        limit,
    )
    return [part_row(row, grace_s=0) for row in rows]


async def of_device(
    db: Database,
    device: UUID,
    *,
    status: JobStatus | None,
    after: tuple[datetime, UUID] | None,
    most_output: int,
    limit: int,
    offset: int,
) -> list[PartRow]:
    """Return the jobs of a device, the newest first."""
    rows = await db.fetch(
        f"SELECT {_SHORT}, j.name AS job_name FROM device_job_status p "  # noqa: S608  constant
        "JOIN job_executions j ON j.id = p.job_id WHERE p.device_uuid = $1 AND ($2::text IS NULL OR p.status = $2) "
        "AND ($3::timestamptz IS NULL OR (p.queued_at, p.job_id) < ($3, $4::uuid)) "
        "ORDER BY p.queued_at DESC, p.job_id DESC LIMIT $6 OFFSET $7",
        device,
        status and status.value,
        *(after or (None, None)),
        most_output,
        limit,
        offset,
    )
    return [part_row(row, grace_s=0) for row in rows]


async def unknown(db: Database, devices: Sequence[UUID], scope: Sequence[UUID] | None) -> list[UUID]:
    """Return those of a list that are not there, or not to be seen."""
    rows = await db.fetch(
        "SELECT o.uuid FROM unnest($1::uuid[]) AS o (uuid) WHERE NOT EXISTS (SELECT 1 FROM fleet_devices d "
        "WHERE ($2::uuid[] IS NULL OR d.uuid = ANY($2)) AND d.uuid = o.uuid)",
        list(devices),
        None if scope is None else list(scope),
    )
    return [row["uuid"] for row in rows]


def part_row(row: Any, *, grace_s: float) -> PartRow:
    """Return a part that was read."""
    part = Part(
        status=JobStatus(row["status"]),
        attempt=row["attempt"],
        available_at=row["available_at"],
        deadline=row["deadline"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"],
        exit_code=row["exit_code"],
        stdout=row["stdout"],
        stderr=row["stderr"],
        executed_steps=row["executed_steps"],
        failed_step=row["failed_step"],
        details=json.loads(row["details"]),
        said=row["said"] and JobStatus(row["said"]),
        is_numbered=row["is_numbered"],
        notify_at=row["notify_at"],
    )
    return PartRow(
        job_id=row["job_id"],
        device_uuid=row["device_uuid"],
        part=part,
        version=row["version"],
        queued_at=row["queued_at"],
        handed_at=row["handed_at"],
        terms=_terms(row, grace_s) if "timeout_s" in row else None,
        job_name=row.get("job_name", ""),
        document=row.get("document", ""),
        stdout_length=row.get("stdout_length"),
        stderr_length=row.get("stderr_length"),
    )


def _terms(row: Any, grace_s: float) -> Terms:
    return Terms(
        timeout_s=row["timeout_s"],
        wait_s=row["wait_s"],
        grace_s=grace_s,
        attempts=row["attempts"],
        backoff_s=row["backoff_s"],
        ends_at=row["ends_at"],
    )
