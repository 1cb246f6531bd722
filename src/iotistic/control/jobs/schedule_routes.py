"""/jobs/schedules and /jobs/scheduler."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.jobs.answers import (
    JobExecutions,
    JobMessage,
    JobSchedulerStatus,
    JobSchedules,
    OneJobSchedule,
)
from iotistic.control.jobs.paging import read_cursor, write_cursor
from iotistic.control.jobs.rows import Wanted
from iotistic.control.jobs.schemas import ScheduleChange, ScheduleRequest, written
from iotistic.control.jobs.service import JobService
from iotistic.control.jobs.shown import shown_job, shown_schedule
from iotistic.kernel.web.describing import answered

_ReadingCaller = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Reader = requires(Permission.DEVICE_READ)
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_Limit = Annotated[int, Query(ge=1, le=200)]
_Cursor = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")]


def schedule_router(jobs: JobService) -> APIRouter:
    """Return the routes of schedules."""
    router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=DeviceRoute)
    _add_collection(router, jobs)
    _add_changes(router, jobs)
    _add_executions(router, jobs)
    return router


def _add_collection(router: APIRouter, jobs: JobService) -> None:
    schedules = jobs.schedules

    @router.get("/scheduler/status", dependencies=[_Reader], responses=answered(JobSchedulerStatus))
    async def job_scheduler_status() -> dict[str, Any]:
        """What is due, and whether somebody looks after it: figures that stay above zero say that nobody does."""
        standing = dict(await schedules.standing())
        return standing | {"next_due_at": written(standing["next_due_at"])}

    @router.get("/schedules", dependencies=[_Reader], responses=answered(JobSchedules))
    async def list_job_schedules(
        is_active: bool | None = None, cursor: _Cursor = None, limit: _Limit = 50
    ) -> dict[str, Any]:
        """Schedules, the newest first."""
        found = await schedules.page(is_active=is_active, after=read_cursor(cursor), limit=limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return {
            "schedules": [shown_schedule(one, document=False) for one in found[:limit]],
            "next_cursor": write_cursor(last.created_at, last.id) if last else None,
        }

    @router.post("/schedules", status_code=201, responses=answered(OneJobSchedule, status=201))
    async def create_job_schedule(asked: ScheduleRequest, caller: _Controller) -> dict[str, Any]:
        """Have a job run again and again, by a cron expression or an interval."""
        return {"schedule": shown_schedule(await jobs.schedule(asked.asked(), by=caller))}

    @router.get("/schedules/{schedule_id}", dependencies=[_Reader], responses=answered(OneJobSchedule))
    async def find_job_schedule(schedule_id: UUID) -> dict[str, Any]:
        """One schedule."""
        return {"schedule": shown_schedule(await schedules.find(schedule_id))}

    _ = job_scheduler_status, list_job_schedules, create_job_schedule, find_job_schedule


def _add_changes(router: APIRouter, jobs: JobService) -> None:
    schedules = jobs.schedules

    @router.patch("/schedules/{schedule_id}", responses=answered(OneJobSchedule))
    async def change_job_schedule(
        schedule_id: UUID, asked: ScheduleChange, caller: _Controller
    ) -> dict[str, Any]:
        """Change what the body names."""
        return {
            "schedule": shown_schedule(await schedules.change(schedule_id, asked.values(), by=caller.name))
        }

    @router.delete("/schedules/{schedule_id}", responses=answered(JobMessage))
    async def delete_job_schedule(schedule_id: UUID, caller: _Controller) -> dict[str, str]:
        """Remove a schedule; jobs that it made stay and go on."""
        await schedules.remove(schedule_id, by=caller.name)
        return {"message": "the schedule is removed"}

    @router.post("/schedules/{schedule_id}/pause", responses=answered(OneJobSchedule))
    async def pause_job_schedule(schedule_id: UUID, caller: _Controller) -> dict[str, Any]:
        """Let no further moment count."""
        paused = await schedules.change(schedule_id, {"is_active": False}, by=caller.name)
        return {"schedule": shown_schedule(paused)}

    @router.post("/schedules/{schedule_id}/resume", responses=answered(OneJobSchedule))
    async def resume_job_schedule(schedule_id: UUID, caller: _Controller) -> dict[str, Any]:
        """Let moments count from now on; those of the pause are not made up for."""
        resumed = await schedules.change(schedule_id, {"is_active": True}, by=caller.name)
        return {"schedule": shown_schedule(resumed)}

    _ = change_job_schedule, delete_job_schedule, pause_job_schedule, resume_job_schedule


def _add_executions(router: APIRouter, jobs: JobService) -> None:
    @router.get("/schedules/{schedule_id}/executions", responses=answered(JobExecutions))
    async def list_job_schedule_executions(
        schedule_id: UUID, caller: _ReadingCaller, cursor: _Cursor = None, limit: _Limit = 50
    ) -> dict[str, Any]:
        """The jobs that a schedule made, the newest first."""
        await jobs.schedules.find(schedule_id)
        wanted = Wanted(
            scope=caller.scope.parameter(),
            schedule_id=schedule_id,
            after=read_cursor(cursor),
            limit=limit + 1,
        )
        found = await jobs.page(wanted)
        last = found[limit - 1] if len(found) > limit else None
        return {
            "executions": [shown_job(job, document=False) for job in found[:limit]],
            "next_cursor": write_cursor(last.created_at, last.id) if last else None,
        }

    _ = list_job_schedule_executions
