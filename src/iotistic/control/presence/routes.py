"""When a device was here.

GET /devices/{uuid}/presence     how it stands, and its comings and goings
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.visible import visible
from iotistic.control.presence.service import Presence


def presence_router(presence: Presence) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["devices"])

    @router.get("/devices/{uuid}/presence")
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

    _ = device_presence
    return router
