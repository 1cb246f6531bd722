"""When a device was here, and whether somebody looks.

GET  /devices/{uuid}/presence    how it stands, and its comings and goings
GET  /admin/heartbeat            how many are here, how long they count as being so, when somebody looked last
POST /admin/heartbeat/check      look now
"""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.visible import visible
from iotistic.control.presence.service import Presence
from iotistic.kernel.web.describing import Answer, answered


class Heartbeat(BaseModel):
    """How presence is looked after."""

    is_attended: bool = Field(description="Whether somebody looks now; leases do not run while nobody does.")
    last_check_at: datetime
    lease_s: float = Field(description="How long a device counts as online after a sign of life.")
    grace_s: float = Field(description="How long it does after its connection to the broker broke.")
    check_interval_s: float
    online: int
    offline: int
    never_seen: int = Field(description="Of those that are offline, how many have not come yet.")


class HeartbeatCheck(BaseModel):
    """What a look brought."""

    went_offline: int
    heartbeat: Heartbeat


class PresenceChange(Answer):
    """A coming or going; `id` counts them of all devices."""

    id: int
    at: datetime
    is_online: bool
    reason: str = Field(
        description="What was noticed, or why the device is gone.", examples=["poll", "silent"]
    )


class DevicePresence(Answer):
    """How a device stands; null is never."""

    is_online: bool
    last_seen: datetime | None
    last_seen_by: str = Field(description="The sign of life; empty when there was none.", examples=["mqtt"])
    lease_until: datetime | None
    since: datetime | None
    history: list[PresenceChange]


def presence_router(presence: Presence) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["devices"])

    @router.get("/devices/{uuid}/presence", responses=answered(DevicePresence))
    async def device_presence(
        uuid: str,
        caller: Annotated[Caller, requires(Permission.DEVICE_READ)],
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    ) -> dict[str, Any]:
        """How a device stands, and its comings and goings, the newest first; `before` is an id of them."""
        named = visible(caller, parse_uuid(uuid))
        standing = await presence.standing(named)
        found = await presence.history(named, before=before, limit=limit)
        return {
            "is_online": standing.is_online,
            "last_seen": standing.seen_at,
            "last_seen_by": standing.source,
            "lease_until": standing.lease_until,
            "since": standing.changed_at,
            "history": [
                {"id": number, "at": one.at, "is_online": one.is_online, "reason": one.reason}
                for number, one in found
            ],
        }

    @router.get(
        "/admin/heartbeat", operation_id="get_heartbeat", dependencies=[requires(Permission.DEVICE_READ)]
    )
    async def heartbeat() -> Heartbeat:
        """How many devices are here, and when somebody looked last."""
        return Heartbeat(**await presence.heartbeat())

    @router.post(
        "/admin/heartbeat/check",
        operation_id="check_heartbeat",
        dependencies=[requires(Permission.DEVICE_CONTROL)],
    )
    async def check() -> HeartbeatCheck:
        """Let devices be gone whose lease is over, without waiting for the next look."""
        gone = await presence.check()
        return HeartbeatCheck(went_offline=gone, heartbeat=Heartbeat(**await presence.heartbeat()))

    _ = device_presence, heartbeat, check
    return router
