"""/jobs: execute, preview, list, cancel and delete; and the jobs of one device, for people."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.jobs.answers import (
    DeviceJobs,
    JobCanceled,
    JobDevice,
    JobDevices,
    JobExecutions,
    JobMessage,
    JobOrdered,
    JobPreview,
    JobWithDevices,
)
from iotistic.control.jobs.model import Schedule
from iotistic.control.jobs.paging import read_cursor, write_cursor
from iotistic.control.jobs.rows import Wanted
from iotistic.control.jobs.schemas import ExecuteRequest, TargetRequest
from iotistic.control.jobs.service import JobService
from iotistic.control.jobs.shown import shown_job, shown_part, shown_schedule
from iotistic.kernel.web.describing import answered

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_Deleter = Annotated[Caller, requires(Permission.DEVICE_DELETE)]
_Limit = Annotated[int, Query(ge=1, le=200)]
_Offset = Annotated[int, Query(ge=0, le=10_000, description="Slower than `cursor` the further it goes.")]
_Cursor = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")]


def job_router(jobs: JobService) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["jobs"], route_class=DeviceRoute)
    _add_orders(router, jobs)
    _add_executions(router, jobs)
    _add_parts(router, jobs)
    return router


def _add_orders(router: APIRouter, jobs: JobService) -> None:
    @router.post("/jobs", status_code=201, responses=answered(JobOrdered, status=201))
    @router.post("/jobs/execute", status_code=201, responses=answered(JobOrdered, status=201))
    async def execute_job(asked: ExecuteRequest, caller: _Controller) -> dict[str, Any]:
        """Have a job run on one device, a group or all: once, by a schedule, or on every device that joins."""
        made = await jobs.execute(asked.asked(), by=caller)
        if isinstance(made, Schedule):
            job = {"job_id": str(made.id), "status": JobStatus.QUEUED.value, **shown_schedule(made)}
            return {"job": job, "message": "the job is scheduled; each round is an execution of its own"}
        return {"job": shown_job(made), "message": f"the job is for {made.summary.total} device(s)"}

    @router.post("/jobs/preview", responses=answered(JobPreview))
    async def preview_job(asked: TargetRequest, caller: _Controller) -> dict[str, Any]:
        """How many devices would be selected now, and a few of them."""
        total, sample = await jobs.preview(
            asked.target_type, asked.target_devices, asked.target_filter, by=caller
        )
        return {"total": total, "devices": [str(one) for one in sample]}

    _ = execute_job, preview_job


def _add_executions(router: APIRouter, jobs: JobService) -> None:
    @router.get("/jobs/executions", responses=answered(JobExecutions))
    async def list_jobs(
        caller: _Reader,
        status: JobStatus | None = None,
        execution_type: ExecutionKind | None = None,
        schedule_id: UUID | None = None,
        template_id: UUID | None = None,
        device_uuid: UUID | None = None,
        cursor: _Cursor = None,
        limit: _Limit = 50,
        offset: _Offset = 0,
    ) -> dict[str, Any]:
        """Jobs with their counts, the newest first."""
        wanted = Wanted(
            scope=caller.scope.parameter(),
            status=status,
            execution=execution_type,
            schedule_id=schedule_id,
            template_id=template_id,
            device=device_uuid,
            after=read_cursor(cursor),
            limit=limit + 1,
            offset=offset,
        )
        found = await jobs.page(wanted)
        last = found[limit - 1] if len(found) > limit else None
        return {
            "executions": [shown_job(job, document=False) for job in found[:limit]],
            "next_cursor": write_cursor(last.created_at, last.id) if last else None,
        }

    @router.get("/jobs/executions/{job_id}", responses=answered(JobWithDevices))
    async def find_job(job_id: UUID, caller: _Reader) -> dict[str, Any]:
        """A job, and how it stands on its first devices; their outputs by the first 1,000 characters."""
        job = await jobs.find(job_id, by=caller)
        parts = await jobs.parts(job_id, by=caller)
        return {"job": shown_job(job), "device_statuses": [shown_part(one) for one in parts]}

    @router.post("/jobs/executions/{job_id}/cancel", responses=answered(JobCanceled))
    async def cancel_job(job_id: UUID, caller: _Controller) -> dict[str, Any]:
        """End a job on every device that is not done with it."""
        return {"job": shown_job(await jobs.cancel(job_id, by=caller)), "message": "the job is cancelled"}

    @router.delete("/jobs/{job_id}", responses=answered(JobMessage))
    async def delete_job(job_id: UUID, caller: _Deleter) -> dict[str, str]:
        """Remove a job that is over."""
        await jobs.remove(job_id, by=caller)
        return {"message": "the job is removed"}

    _ = list_jobs, find_job, cancel_job, delete_job


def _add_parts(router: APIRouter, jobs: JobService) -> None:
    @router.get("/jobs/executions/{job_id}/devices", responses=answered(JobDevices))
    async def list_job_devices(
        job_id: UUID,
        caller: _Reader,
        status: JobStatus | None = None,
        after: Annotated[UUID | None, Query(description="`next_after` of the page before.")] = None,
        limit: _Limit = 100,
    ) -> dict[str, Any]:
        """How a job stands on its devices, by their uuids."""
        await jobs.find(job_id, by=caller)
        parts = await jobs.parts(job_id, by=caller, status=status, after=after, limit=limit + 1)
        last = str(parts[limit - 1].device_uuid) if len(parts) > limit else None
        return {"device_statuses": [shown_part(one) for one in parts[:limit]], "next_after": last}

    @router.get("/jobs/executions/{job_id}/devices/{uuid}", responses=answered(JobDevice))
    async def find_job_device(job_id: UUID, uuid: UUID, caller: _Reader) -> dict[str, Any]:
        """How a job stands on one device, with all of its output that is kept."""
        return {"device_status": shown_part(await jobs.part(job_id, uuid, by=caller))}

    @router.post("/jobs/executions/{job_id}/devices/{uuid}/cancel", responses=answered(JobDevice))
    async def cancel_job_device(job_id: UUID, uuid: UUID, caller: _Controller) -> dict[str, Any]:
        """End a job on one device."""
        return {"device_status": shown_part(await jobs.cancel_part(job_id, uuid, by=caller))}

    @router.get("/devices/{uuid}/jobs", responses=answered(DeviceJobs))
    async def list_device_jobs(
        uuid: UUID,
        caller: _Reader,
        status: JobStatus | None = None,
        cursor: _Cursor = None,
        limit: _Limit = 20,
        offset: _Offset = 0,
    ) -> dict[str, Any]:
        """The jobs of a device, the newest first."""
        found = await jobs.of_device(
            uuid, by=caller, status=status, after=read_cursor(cursor), limit=limit + 1, offset=offset
        )
        last = found[limit - 1] if len(found) > limit else None
        return {
            "jobs": [shown_part(one) for one in found[:limit]],
            "next_cursor": write_cursor(last.queued_at, last.job_id) if last else None,
        }

    _ = list_job_devices, find_job_device, cancel_job_device, list_device_jobs
