"""A job is opened: its devices are chosen, and each gets its part."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.devices.repository import Database
from iotistic.control.jobs import part_rows, rows, settling
from iotistic.control.jobs.model import Job

log = structlog.get_logger()


class Connection(Database, Protocol):
    """A connection of one's own."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Return a transaction, or a savepoint within one."""
        ...


async def open_job(db: Connection, job: Job, now: datetime) -> int:
    """Choose the devices of a job in the caller's transaction; return how many there are.

    One that nobody is selected for is over at once. A selection that the database cannot carry out ends the job
    as failed, and nothing else: whoever looks after many jobs goes on with the next.
    """
    await rows.lock(db, job.id)
    try:
        async with db.transaction():
            count = await part_rows.add_selected(db, job, now)
    except (asyncpg.DataError, asyncpg.SyntaxOrAccessError) as exc:
        log.warning("job.not_opened", job_id=str(job.id), reason=str(exc))
        await settling.finish(db, job.id, JobStatus.FAILED, now, reason=f"devices could not be chosen: {exc}")
        return 0
    await settling.opened(db, job.id, now)
    if not count and job.execution is not ExecutionKind.CONTINUOUS:
        await settling.finish(db, job.id, JobStatus.SUCCEEDED, now, reason="no device was selected")
    log.info("job.opened", job_id=str(job.id), devices=count)
    return count


async def start_job(db: Connection, job_id: UUID, now: datetime) -> None:
    """Open a job that waited for its time, unless somebody else is at it or was."""
    if not await rows.lock_if_free(db, job_id):
        return
    job = await rows.find(db, job_id)
    if job is not None and job.opened_at is None and job.finished_at is None:
        await open_job(db, job, now)


async def join_job(db: Connection, job: Job, now: datetime) -> int:
    """Give a continuous job to devices that are selected now and were not; return how many."""
    await rows.lock(db, job.id)
    current = await rows.find(db, job.id)
    if current is None or current.finished_at is not None:
        return 0
    if current.ends_at is not None and now >= current.ends_at:
        return 0
    joined = await part_rows.add_selected(db, current, now)
    if joined:
        log.info("job.joined", job_id=str(job.id), devices=joined)
    return joined
