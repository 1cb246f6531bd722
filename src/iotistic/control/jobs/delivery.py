"""The device's side of jobs: what it is to do next, and how it says that it went.

A report is committed before it is answered, so that an answer means that the device may forget it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.jobs import JobStatus
from iotistic.contracts.provisioning.fields import write_time
from iotistic.control.devices.repository import Database
from iotistic.control.jobs import due_parts, metrics, part_rows, settling
from iotistic.control.jobs.arrivals import heard, read_report
from iotistic.control.jobs.model import JobUnknown
from iotistic.control.jobs.part_rows import PartRow
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Told:
    """How a part stands after a report."""

    status: JobStatus
    version: int


class DeviceJobs:
    """What devices ask and tell; whoever calls has checked which device it is."""

    def __init__(
        self, pool: asyncpg.Pool, settings: JobDeskSettings, *, clock: Callable[[], datetime]
    ) -> None:
        self._pool, self._clock = pool, clock
        self._most_output = settings.job_output_kept_kb * 1024
        self._grace_s = settings.job_report_grace_minutes * 60

    async def next(self, device: UUID) -> PartRow | None:
        """Return what a device is to hear of next. The same again until it says that it began."""
        now = self._clock()
        with database_errors():
            found = await due_parts.next_of(self._pool, device, now)
            if found is not None and (found.handed_at is None or found.part.status is JobStatus.CANCELED):
                await due_parts.handed(self._pool, found, now)
                metrics.DELIVERED.labels("fetched").inc()
        return found

    async def report(self, device: UUID, job_id: UUID, message: object) -> Told:
        """Note a report. Raises ReportInvalid, ReportOutOfTurn, JobUnknown."""
        report = read_report(message, most_output=self._most_output)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                held = await part_rows.hold(db, device, job_id, grace_s=self._grace_s)
                if held is None or held.terms is None:
                    raise JobUnknown(job_id=str(job_id), hint="it was removed, or is another device's")
                after = heard(held.part, report, now, held.terms)
                if after is held.part:
                    return Told(after.status, held.version)
                version = await part_rows.save(db, held, after)
                settled = await self._settle(db, job_id, held.part.status, after.status, now)
        metrics.changed(held.part, after)
        if after.status is not held.part.status:
            fields = {"job_id": str(job_id), "device_uuid": str(device), "attempt": after.attempt}
            log.info("job.reported", **fields, status=after.status, job_status=settled)
        return Told(after.status, version)

    async def _settle(
        self,
        db: Database,
        job_id: UUID,
        before: JobStatus,
        after: JobStatus,
        now: datetime,
    ) -> JobStatus | None:
        if before is after:
            return None
        if before is JobStatus.QUEUED:
            await settling.begun(db, job_id, now)
        return await settling.settle(db, job_id, now) if after.is_final else None


def polled(row: PartRow) -> dict[str, Any]:
    """Return a part as a poll answers it; a cancellation comes without the document."""
    is_canceled = row.part.status is JobStatus.CANCELED
    return {
        "job_id": str(row.job_id),
        "job_name": row.job_name,
        "job_document": None if is_canceled else json.loads(row.document),
        "timeout_seconds": None if row.terms is None else row.terms.timeout_s,
        "created_at": write_time(row.queued_at.timestamp()),
        "execution_number": row.part.attempt,
        "status": row.part.status.value,
    }


def announced(row: PartRow, now: datetime) -> dict[str, Any]:
    """Return a part as MQTT announces it."""
    asked = polled(row)
    execution = {
        "jobId": asked["job_id"],
        "jobName": asked["job_name"],
        "jobDocument": asked["job_document"],
        "timeoutSeconds": asked["timeout_seconds"],
        "queuedAt": asked["created_at"],
        "lastUpdatedAt": write_time(now.timestamp()),
        "versionNumber": row.version,
        "executionNumber": row.part.attempt,
        "status": asked["status"],
    }
    return {
        "execution": {name: value for name, value in execution.items() if value is not None},
        "timestamp": write_time(now.timestamp()),
    }
