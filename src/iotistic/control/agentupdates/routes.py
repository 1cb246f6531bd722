"""Updates of agents over HTTP.

POST   /devices/{uuid}/update-agent           order one
DELETE /devices/{uuid}/update-agent           call it back
GET    /devices/{uuid}/agent-updates          what was ordered, and what became of it
GET    /device/{uuid}/agent-update            the device asks what it is to do; 404: nothing
PATCH  /device/{uuid}/agent-update/status     the device says how it goes
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import Request

from iotistic.contracts.agent_updates import LATEST, VERSION
from iotistic.control.access.model import Caller, DevicePrincipal, Permission
from iotistic.control.access.rules import device_credential, requires
from iotistic.control.agentupdates.model import AgentUpdate, UpdateStatus
from iotistic.control.agentupdates.service import AgentUpdates
from iotistic.control.devices.visible import visible
from iotistic.control.devices.wire import DeviceRoute, read_json
from iotistic.kernel.web.describing import Absent, Answer, answered

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_Device = Annotated[DevicePrincipal, device_credential(path="uuid")]
_MOST_REPORT = 64 * 1024


class UpdateRequest(BaseModel):
    """What is to be installed, and when."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(
        pattern=rf"^(?:{VERSION}|{LATEST})$",
        description="Three numbers, or `latest`: the newest that the device's own source has.",
        examples=["1.4.2"],
    )
    scheduled_time: AwareDatetime | None = Field(
        default=None, description="Not before this time; with a zone. The device's own window comes on top."
    )
    force: bool = Field(
        default=False,
        description="Also an older version, or the one that runs, and outside of the device's window. "
        "What is not signed is refused all the same.",
    )


class UpdateStanding(BaseModel):
    """An order, and what became of it."""

    update_id: UUID
    version: str
    found_version: str = Field(description="What `latest` turned out to be; empty while nobody knows.")
    from_version: str
    force: bool
    scheduled_time: datetime | None
    status: UpdateStatus
    code: str = Field(description="Why it failed; empty otherwise.")
    message: str
    ordered_by: str
    ordered_at: datetime
    heard_at: datetime | None
    ended_at: datetime | None
    deadline_at: datetime

    @classmethod
    def of(cls, update: AgentUpdate) -> "UpdateStanding":
        """Show an order."""
        return cls(
            update_id=update.id,
            version=update.version,
            found_version=update.found_version,
            from_version=update.from_version,
            force=update.is_forced,
            scheduled_time=update.not_before,
            status=update.status,
            code=update.code,
            message=update.message,
            ordered_by=update.ordered_by,
            ordered_at=update.ordered_at,
            heard_at=update.heard_at,
            ended_at=update.ended_at,
            deadline_at=update.deadline_at,
        )


class AgentUpdateHistory(Answer):
    """Updates of a device's agent, the newest first."""

    items: list[UpdateStanding]


class AgentUpdateOrder(Answer):
    """What a device is to do; what there is nothing to say about is left out."""

    action: Literal["update"]
    version: str
    scheduled_time: datetime | Absent = None
    force: bool
    timestamp: datetime | Absent = Field(None, description="When it was ordered.")
    update_id: UUID | Absent = None


class AgentUpdateHeard(Answer):
    """How an update stands after a report."""

    status: UpdateStatus


def agent_update_router(updates: AgentUpdates) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["agent updates"], route_class=DeviceRoute)
    _add_ordering(router, updates)
    router.include_router(_asking(updates))
    return router


def _add_ordering(router: APIRouter, updates: AgentUpdates) -> None:
    @router.post("/devices/{uuid}/update-agent", operation_id="order_agent_update", status_code=202)
    async def order(uuid: UUID, asked: UpdateRequest, caller: _Controller) -> UpdateStanding:
        """Order an update of a device's agent; a device that is away hears of it when it comes back."""
        visible(caller, str(uuid))
        ordered = await updates.order(
            uuid, asked.version, not_before=asked.scheduled_time, is_forced=asked.force, by=caller
        )
        return UpdateStanding.of(ordered)

    @router.delete("/devices/{uuid}/update-agent", operation_id="cancel_agent_update")
    async def cancel(uuid: UUID, caller: _Controller) -> UpdateStanding:
        """Call an update back that the device has not begun."""
        visible(caller, str(uuid))
        return UpdateStanding.of(await updates.cancel(uuid, by=caller))

    @router.get(
        "/devices/{uuid}/agent-updates",
        operation_id="list_agent_updates",
        responses=answered(AgentUpdateHistory),
    )
    async def listed(
        uuid: UUID, caller: _Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> dict[str, list[UpdateStanding]]:
        """Updates of a device's agent, the newest first."""
        visible(caller, str(uuid))
        return {"items": [UpdateStanding.of(one) for one in await updates.history(uuid, limit=limit)]}

    _ = order, cancel, listed


def _asking(updates: AgentUpdates) -> APIRouter:
    router = APIRouter(prefix="/device/{uuid}/agent-update", route_class=DeviceRoute)

    @router.get("", operation_id="get_agent_update", responses=answered(AgentUpdateOrder))
    async def waiting(device: _Device) -> dict[str, Any]:
        """What the device is to do: {action, version, scheduled_time, force, timestamp, update_id}."""
        return (await updates.waiting(device.device_uuid)).order().as_fields()

    @router.patch("/status", operation_id="report_agent_update", responses=answered(AgentUpdateHeard))
    async def report(request: Request, device: _Device) -> dict[str, Any]:
        """Note how an update goes."""
        status = await updates.heard(device.device_uuid, await read_json(request, most=_MOST_REPORT))
        return {"status": status.value}

    _ = waiting, report
    return router
