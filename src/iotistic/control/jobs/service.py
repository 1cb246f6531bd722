"""Execute, preview, cancel, read and delete jobs."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.jobs import metrics, part_rows, rows, settling
from iotistic.control.jobs.arrivals import cancelled
from iotistic.control.jobs.model import (
    Job,
    JobOver,
    JobUnderWay,
    JobUnknown,
    NobodySelected,
    OrderInvalid,
    Schedule,
    TargetKind,
)
from iotistic.control.jobs.orders import Allowance, Asked, Everything, Ordered, described, make_order
from iotistic.control.jobs.part_rows import PartRow
from iotistic.control.jobs.placing import Connection, open_job
from iotistic.control.jobs.rows import Wanted
from iotistic.control.jobs.scheduling import Schedules
from iotistic.control.jobs.selection import Statement, read_selection
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_SAMPLE = 10
_CANCELED = "cancelled by {by}"


class JobService:
    """The use cases of people and programs; those of devices are `delivery`'s."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: JobDeskSettings,
        *,
        clock: Callable[[], datetime],
        allowance: Allowance | None = None,
        trail: Trail = NO_TRAIL,
    ) -> None:
        self._pool, self._settings, self._clock, self._trail = pool, settings, clock, trail
        self._allowance = allowance or Everything()
        self.schedules = Schedules(pool, clock=clock, trail=trail)

    async def execute(self, asked: Asked, *, by: Caller) -> Job | Schedule:
        """Start a job, or let it wait for its time; one that recurs becomes a schedule.

        Raises NobodySelected for one that starts now and has no devices, and the errors of `make_order`.
        """
        await self._allowance.check_jobs(scheduled=False)
        ordered = await self._ordered(asked, by)
        if ordered.rhythm is not None:
            await self._allowance.check_jobs(scheduled=True)
            return await self.schedules.add(ordered)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                job = await self._start(db, ordered)
                found = await rows.find(db, job.id)
                if found is None:
                    raise JobUnknown(id=str(job.id))
                after = {**described(ordered.order), "devices": found.summary.total}
                await self._trail.record(db, by, "job.created", ("job", job.id), after=after)
        log.info("job.created", job_id=str(found.id), by=by.name, devices=found.summary.total)
        return found

    async def schedule(self, asked: Asked, *, by: Caller) -> Schedule:
        """Make a schedule. Raises OrderInvalid, ScheduleInvalid, and the errors of `make_order`."""
        await self._allowance.check_jobs(scheduled=True)
        ordered = await self._ordered(asked, by)
        if ordered.rhythm is None:
            raise OrderInvalid("a schedule has a cron_expression or interval_minutes")
        return await self.schedules.add(ordered)

    async def preview(
        self, target: TargetKind, devices: Sequence[UUID], asked: dict[str, object] | None, *, by: Caller
    ) -> tuple[int, list[UUID]]:
        """Return how many devices are selected now, and a few of them. Raises OrderInvalid, FilterInvalid."""
        selection = read_selection(target, devices, asked)
        statement = Statement()
        selected = statement.selected(selection, by.scope.parameter())
        with database_errors():
            found = await self._pool.fetch(
                "SELECT d.uuid, count(*) OVER () AS total FROM fleet_devices d "  # noqa: S608  places only
                f"WHERE {selected} ORDER BY d.uuid LIMIT {_SAMPLE}",
                *statement.parameters,
            )
        return (found[0]["total"] if found else 0), [row["uuid"] for row in found]

    async def find(self, job_id: UUID, *, by: Caller) -> Job:
        """Return a job with its summary. Raises JobUnknown."""
        with database_errors():
            found = await rows.find(self._pool, job_id, by.scope.parameter())
            hint = None
            if found is None and await self.schedules.is_one(job_id):
                hint = f"this is a schedule: GET /jobs/schedules/{job_id}"
        if found is None:
            raise JobUnknown(hint=hint, id=str(job_id))
        return found

    async def page(self, wanted: Wanted) -> list[Job]:
        """Return jobs with their summaries, the newest first."""
        with database_errors():
            return await rows.page(self._pool, wanted)

    async def parts(
        self,
        job_id: UUID,
        *,
        by: Caller,
        status: JobStatus | None = None,
        after: UUID | None = None,
        limit: int = 100,
        most_output: int = 1000,
    ) -> list[PartRow]:
        """Return how a job stands on its devices, by their uuids; outputs by their first `most_output` characters."""
        with database_errors():
            return await part_rows.of_job(
                self._pool,
                job_id,
                scope=by.scope.parameter(),
                status=status,
                after=after,
                most_output=most_output,
                limit=limit,
            )

    async def part(self, job_id: UUID, device: UUID, *, by: Caller) -> PartRow:
        """Return how a job stands on a device, with its outputs. Raises JobUnknown, OutOfScope."""
        by.scope.require(device)
        with database_errors():
            found = await part_rows.find(self._pool, device, job_id)
        if found is None:
            raise JobUnknown(id=str(job_id), device_uuid=str(device))
        return found

    async def of_device(
        self,
        device: UUID,
        *,
        by: Caller,
        status: JobStatus | None = None,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> list[PartRow]:
        """Return the jobs of a device, the newest first. Raises OutOfScope."""
        by.scope.require(device)
        with database_errors():
            return await part_rows.of_device(
                self._pool, device, status=status, after=after, most_output=1000, limit=limit, offset=offset
            )

    async def cancel(self, job_id: UUID, *, by: Caller) -> Job:
        """End a job on every device that is not done; those that have it are told. Raises JobUnknown, JobOver."""
        now, reason = self._clock(), _CANCELED.format(by=by.name)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await rows.lock(db, job_id)
                if await rows.find(db, job_id, by.scope.parameter()) is None:
                    raise JobUnknown(id=str(job_id))
                count = await part_rows.cancel_open(db, job_id, now, reason)
                done = await settling.finish(db, job_id, JobStatus.CANCELED, now, reason=reason, by=by.name)
                found = await rows.find(db, job_id)
                if found is None:
                    raise JobUnknown(id=str(job_id))
                if not done:
                    raise JobOver(f"the job is over: {found.status}", status=found.status)
                await self._trail.record(
                    db, by, "job.cancelled", ("job", job_id), details={"name": found.order.name}
                )
        metrics.ENDED.labels(JobStatus.CANCELED.value).inc(count)
        log.info("job.cancelled", job_id=str(job_id), by=by.name)
        return found

    async def cancel_part(self, job_id: UUID, device: UUID, *, by: Caller) -> PartRow:
        """End a job on one device. Raises JobUnknown, JobOver, OutOfScope."""
        by.scope.require(device)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                held = await part_rows.hold(db, device, job_id, grace_s=0)
                if held is None:
                    raise JobUnknown(id=str(job_id), device_uuid=str(device))
                if held.part.status.is_final:
                    raise JobOver(f"the job is over on this device: {held.part.status}")
                after = cancelled(held.part, now, _CANCELED.format(by=by.name))
                await part_rows.save(db, held, after)
                await settling.settle(db, job_id, now)
                details = {"device_uuid": str(device)}
                await self._trail.record(db, by, "job.part_cancelled", ("job", job_id), details=details)
        metrics.changed(held.part, after)
        log.info("job.part_cancelled", job_id=str(job_id), device_uuid=str(device), by=by.name)
        return await self.part(job_id, device, by=by)

    async def remove(self, job_id: UUID, *, by: Caller) -> None:
        """Remove a job that is over, with everything that was told of it. Raises JobUnknown, JobUnderWay."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await rows.lock(db, job_id)
                found = await rows.find(db, job_id, by.scope.parameter())
                if found is None:
                    raise JobUnknown(id=str(job_id))
                if found.finished_at is None:
                    raise JobUnderWay(
                        f"the job is {found.status}", hint="cancel it first", status=found.status
                    )
                await rows.remove(db, job_id)
                await self._trail.record(
                    db, by, "job.removed", ("job", job_id), before=described(found.order)
                )
        log.info("job.removed", job_id=str(job_id), by=by.name)

    async def _ordered(self, asked: Asked, by: Caller) -> Ordered:
        wait_s = int(self._settings.job_wait_hours * 3600)
        with database_errors():
            return await make_order(self._pool, asked, by=by, now=self._clock(), wait_s=wait_s)

    async def _start(self, db: Connection, ordered: Ordered) -> Job:
        now = self._clock()
        job = await rows.add(
            db,
            ordered.order,
            ordered.execution,
            starts_at=ordered.starts_at,
            ends_at=ordered.ends_at,
            now=now,
        )
        if job is None:
            raise JobUnknown
        if ordered.starts_at > now:
            return job
        if not await open_job(db, job, now) and job.execution is not ExecutionKind.CONTINUOUS:
            raise NobodySelected(hint="POST /jobs/preview shows which devices a filter selects")
        return job
