"""How a job goes on: opened, begun, settled when its parts are over. Every function takes the connection."""

from datetime import datetime
from uuid import UUID

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.devices.repository import Database
from iotistic.control.jobs.rows import SUMMARY, summary_of


async def opened(db: Database, job_id: UUID, now: datetime) -> None:
    """Note that the devices of a job were chosen."""
    await db.execute("UPDATE job_executions SET opened_at = $2 WHERE id = $1", job_id, now)


async def begun(db: Database, job_id: UUID, now: datetime) -> None:
    """Note that a device began, if it is the first."""
    await db.execute(
        "UPDATE job_executions SET status = 'IN_PROGRESS', started_at = $2 WHERE id = $1 AND status = 'QUEUED'",
        job_id,
        now,
    )


async def settle(db: Database, job_id: UUID, now: datetime) -> JobStatus | None:
    """End a job whose parts are all over, in the transaction that ended the last; return what it came to.

    The row is locked first and the parts are read by a later statement: of two transactions that end the last two
    parts, the second sees both.
    """
    row = await db.fetchrow(
        "SELECT execution_type, ends_at FROM job_executions "
        "WHERE id = $1 AND opened_at IS NOT NULL AND finished_at IS NULL FOR NO KEY UPDATE",
        job_id,
    )
    if row is None:
        return None
    may_be_joined = row["ends_at"] is None or now < row["ends_at"]
    if row["execution_type"] == ExecutionKind.CONTINUOUS.value and may_be_joined:
        return None
    if await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM device_job_status WHERE job_id = $1 AND finished_at IS NULL)", job_id
    ):
        return None
    counted = await db.fetchrow(
        f"SELECT s.* FROM job_executions j CROSS JOIN LATERAL ({SUMMARY}) s WHERE j.id = $1",  # noqa: S608  constant
        job_id,
    )
    outcome = summary_of(counted).outcome()
    await finish(db, job_id, outcome, now)
    return outcome


async def finish(
    db: Database, job_id: UUID, status: JobStatus, now: datetime, *, reason: str = "", by: str | None = None
) -> bool:
    """End a job that is not over; tell whether it was not."""
    done = await db.execute(
        "UPDATE job_executions SET status = $2, finished_at = $3, opened_at = coalesce(opened_at, $3), "
        "reason = $4, canceled_by = $5 WHERE id = $1 AND finished_at IS NULL",
        job_id,
        status.value,
        now,
        reason,
        by,
    )
    return done == "UPDATE 1"


async def unsettled(db: Database, now: datetime, limit: int) -> list[UUID]:
    """Return jobs that may be over and do not know: their last devices were removed."""
    rows = await db.fetch(
        "SELECT id FROM job_executions j WHERE opened_at IS NOT NULL AND finished_at IS NULL "
        "AND (execution_type <> 'continuous' OR ends_at <= $2) "
        "AND NOT EXISTS (SELECT 1 FROM device_job_status p WHERE p.job_id = j.id AND p.finished_at IS NULL) "
        "ORDER BY id LIMIT $1",
        limit,
        now,
    )
    return [row["id"] for row in rows]
