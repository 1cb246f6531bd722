"""GET /why/devices/{uuid}: why a device is offline, not updated, limited, or was rolled back."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.why.port import About
from iotistic.control.why.schemas import WhyAnswer
from iotistic.control.why.service import WhyService


def why_router(service: WhyService) -> APIRouter:
    """Return the routes below /why."""
    router = APIRouter(prefix="/why", tags=["why"])

    @router.get("/devices/{uuid}", operation_id="why_device")
    async def why(
        uuid: UUID, caller: Annotated[Caller, requires(Permission.DEVICE_READ)], about: About | None = None
    ) -> WhyAnswer:
        """Say why, in plain words and with the fix; without `about`, of what is wrong first."""
        caller.scope.require(uuid)
        return WhyAnswer.of(await service.ask(str(uuid), about))

    _ = why
    return router
