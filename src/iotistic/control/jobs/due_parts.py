"""Parts that something is to be done with: late ones, those to be handed out, those to be told over MQTT."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.jobs.part_rows import PART, TERMS, PartRow, part_row

_AGAIN_AFTER = timedelta(minutes=1)
# As a cancellation takes the parts of its job, and a removal those of its devices: nobody waits in a circle.
_IN_ORDER = "ORDER BY p.device_uuid, p.job_id FOR NO KEY UPDATE"


async def claim_late(db: Database, now: datetime, limit: int, *, grace_s: float) -> list[PartRow]:
    """Return parts whose deadline is over, for the caller's transaction alone."""
    rows = await db.fetch(
        f"SELECT {PART}, {TERMS} FROM device_job_status p JOIN job_executions j ON j.id = p.job_id "  # noqa: S608  constant
        "WHERE p.finished_at IS NULL AND p.deadline <= $1 ORDER BY p.deadline LIMIT $2 "
        "FOR UPDATE OF p SKIP LOCKED",
        now,
        limit,
    )
    return [part_row(row, grace_s=grace_s) for row in rows]


async def standing(db: Database, now: datetime) -> Mapping[str, Any]:
    """Return how many parts are `queued` and `in_progress`, and for how many seconds the oldest waits, `waits_s`."""
    return await db.fetchrow(
        "SELECT count(*) FILTER (WHERE status = 'QUEUED') AS queued, "
        "count(*) FILTER (WHERE status = 'IN_PROGRESS') AS in_progress, "
        "coalesce(extract(epoch FROM $1 - min(available_at) FILTER (WHERE status = 'QUEUED' AND available_at <= $1)), 0)"
        "::double precision AS waits_s FROM device_job_status WHERE finished_at IS NULL",
        now,
    )


async def next_of(db: Database, device: UUID, now: datetime) -> PartRow | None:
    """Return what a device is to hear of next: a cancellation it does not know of, or its oldest job."""
    row = await db.fetchrow(
        f"SELECT {PART}, {TERMS}, j.name AS job_name, j.document FROM device_job_status p "  # noqa: S608  constant
        "JOIN job_executions j ON j.id = p.job_id WHERE p.device_uuid = $1 AND p.waits "
        "AND (p.status = 'CANCELED' OR (p.available_at <= $2 AND p.deadline > $2)) "
        "ORDER BY (p.status = 'CANCELED') DESC, p.queued_at, p.job_id LIMIT 1",
        device,
        now,
    )
    return part_row(row, grace_s=0) if row else None


async def handed(db: Database, row: PartRow, now: datetime) -> None:
    """Note that a device was told."""
    await db.execute(
        "UPDATE device_job_status SET handed_at = coalesce(handed_at, $3), notify_at = CASE WHEN status <> 'QUEUED' THEN notify_at END, "
        "cancel_told = cancel_told + CASE WHEN status = 'CANCELED' THEN 1 ELSE 0 END "
        "WHERE job_id = $1 AND device_uuid = $2",
        row.job_id,
        row.device_uuid,
        now,
    )


async def claim_untold(db: Database, now: datetime, until: datetime, limit: int) -> list[PartRow]:
    """Return what devices are to be told over MQTT; nobody else gets it before `until`."""
    rows = await db.fetch(
        "UPDATE device_job_status p SET notify_at = $2 FROM (SELECT job_id, device_uuid FROM device_job_status "  # noqa: S608  constant
        "WHERE notify_at <= $1 ORDER BY notify_at LIMIT $3 FOR UPDATE SKIP LOCKED) o, job_executions j "
        "WHERE p.job_id = o.job_id AND p.device_uuid = o.device_uuid AND j.id = p.job_id "
        f"RETURNING {PART}, {TERMS}, j.name AS job_name, j.document",
        now,
        until,
        limit,
    )
    return [part_row(row, grace_s=0) for row in rows]


async def told(db: Database, rows: Sequence[PartRow], now: datetime) -> None:
    """Note that devices were told what was claimed; what changed since then is still to be told.

    A job that nobody fetched is told again after a minute, then each time when it has waited twice as long: the
    device may have been between two connections, and some never ask.
    """
    await db.execute(
        "WITH theirs AS (SELECT p.job_id, p.device_uuid FROM device_job_status p "  # noqa: S608  constant
        "JOIN unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS o (job_id, device_uuid, until) "
        "ON p.job_id = o.job_id AND p.device_uuid = o.device_uuid AND p.notify_at = o.until "
        f"{_IN_ORDER} OF p) "
        "UPDATE device_job_status p SET notify_at = CASE WHEN p.status = 'QUEUED' AND p.handed_at IS NULL "
        "THEN $4::timestamptz + greatest($4::timestamptz - p.available_at, $5::interval) END "
        "FROM theirs o WHERE p.job_id = o.job_id AND p.device_uuid = o.device_uuid",
        [row.job_id for row in rows],
        [row.device_uuid for row in rows],
        [row.part.notify_at for row in rows],
        now,
        _AGAIN_AFTER,
    )


async def remind(db: Database, devices: Sequence[UUID], now: datetime) -> None:
    """Have devices told at once of jobs that wait for them, but of those that they are told of within a minute anyway.

    Those were told a moment ago, and a device that heard it would have the same job twice.
    """
    await db.execute(
        "WITH theirs AS (SELECT p.job_id, p.device_uuid FROM device_job_status p "  # noqa: S608  constant
        "WHERE device_uuid = ANY($1::uuid[]) AND waits "
        "AND status = 'QUEUED' AND available_at <= $2 AND deadline > $2 "
        f"AND (notify_at IS NULL OR notify_at > $2 + $3::interval) {_IN_ORDER}) "
        "UPDATE device_job_status p SET notify_at = $2::timestamptz FROM theirs o "
        "WHERE p.job_id = o.job_id AND p.device_uuid = o.device_uuid",
        devices,
        now,
        _AGAIN_AFTER,
    )
