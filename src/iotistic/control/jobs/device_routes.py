"""The device's side of jobs.

GET   /devices/{uuid}/jobs/next               what it is to do next; 404 when there is nothing
PATCH /devices/{uuid}/jobs/{job}/status       how a job stands
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request

from iotistic.control.access.model import DevicePrincipal
from iotistic.control.access.rules import device_credential
from iotistic.control.devices.wire import DeviceRoute, read_json
from iotistic.control.jobs.answers import JobReported, NextJob
from iotistic.control.jobs.delivery import DeviceJobs, polled
from iotistic.kernel.errors import NotFound
from iotistic.kernel.web.describing import answered

_MOST_REPORT = 4 * 1024 * 1024
_Device = Annotated[DevicePrincipal, device_credential(path="uuid")]


class NoJob(NotFound):
    """There is no job for this device now."""

    code = "job.none"


def device_job_router(jobs: DeviceJobs) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/devices/{uuid}/jobs", tags=["device jobs"], route_class=DeviceRoute)

    @router.get("/next", responses=answered(NextJob))
    async def next_job(device: _Device) -> dict[str, Any]:
        """The device's oldest job that it did not begin, or one that was cancelled while it is at it."""
        found = await jobs.next(device.device_uuid)
        if found is None:
            raise NoJob(hint="ask again later")
        return polled(found)

    @router.patch("/{job_id}/status", responses=answered(JobReported))
    async def report_job(request: Request, device: _Device, job_id: UUID) -> dict[str, Any]:
        """Note how a job stands; the answer says how it stands here, CANCELED for one that is to be ended."""
        told = await jobs.report(device.device_uuid, job_id, await read_json(request, most=_MOST_REPORT))
        return {"status": told.status.value, "version_number": told.version, "job_id": str(job_id)}

    _ = next_job, report_job
    return router
