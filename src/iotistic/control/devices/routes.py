"""What a device asks about itself: how long its key is good for, a new key, to be forgotten."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from iotistic.contracts.provisioning.fields import write_time
from iotistic.contracts.provisioning.rotation import RotatedKey
from iotistic.control.access.model import Caller, Permission
from iotistic.control.devices.access import CheckedInside, OwnDevice, OwnDeviceOr, presented_key
from iotistic.control.devices.key_answers import (
    DeviceGone,
    DeviceKeyHistory,
    DeviceKeyRotation,
    DeviceKeyStatus,
)
from iotistic.control.devices.lifecycle import Act, Lifecycle, Outcome
from iotistic.control.devices.model import ApiKey, DeviceUnknown
from iotistic.control.devices.service import DeviceService
from iotistic.control.devices.wire import DeviceRoute
from iotistic.kernel.web.describing import answered


def device_key_router(service: DeviceService, *, lifecycle: Lifecycle | None = None) -> APIRouter:
    """Return the routes about a device's own keys, and its leave-taking.

    `lifecycle` removes devices for people, with its audit trail.
    """
    own, checked_inside = OwnDevice(service), CheckedInside("the device's own API key")
    router = APIRouter(tags=["devices"], route_class=DeviceRoute)

    @router.get("/device/{uuid}/key-status", responses=answered(DeviceKeyStatus))
    async def key_status(uuid: Annotated[str, Depends(checked_inside)], request: Request) -> dict[str, Any]:
        """Until when the key that asks is good."""
        return {"data": _described(await service.recognise(uuid, presented_key(request)))}

    @router.post("/device/{uuid}/rotate-key", responses=answered(DeviceKeyRotation))
    async def rotate_key(uuid: Annotated[str, Depends(own)]) -> dict[str, Any]:
        """A new key; the ones before stay good until the grace period ends."""
        new = await service.rotate(uuid)
        expires_at, old_valid_until = new.expires_at.timestamp(), new.old_valid_until.timestamp()
        return RotatedKey(new.api_key, expires_at, old_valid_until).write()

    @router.get("/device/{uuid}/rotation-history", responses=answered(DeviceKeyHistory))
    async def rotation_history(
        uuid: Annotated[str, Depends(own)], limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> dict[str, Any]:
        """The keys that the device has and had, the newest first."""
        keys = await service.keys(uuid, limit=limit)
        return {"count": len(keys), "history": [_described(key) for key in keys]}

    leaving = OwnDeviceOr(service, Permission.DEVICE_DELETE)

    @router.delete("/devices/{uuid}", responses=answered(DeviceGone))
    async def leave(named: Annotated[tuple[str, Caller | None], Depends(leaving)]) -> dict[str, str]:
        """Forget a device with everything that it owns: itself, or somebody who may delete devices, asks."""
        uuid, caller = named
        if caller is None or lifecycle is None:
            await service.remove(uuid)
        else:
            (result,) = await lifecycle.act(Act.DELETE, [uuid], by=caller)
            if result.outcome is Outcome.UNKNOWN:
                raise DeviceUnknown(uuid=uuid)
        return {"status": "ok", "uuid": uuid}

    _ = key_status, rotate_key, rotation_history, leave
    return router


def _described(key: ApiKey) -> dict[str, Any]:
    described: dict[str, Any] = {
        "created_at": write_time(key.created_at.timestamp()),
        "is_newest": key.ends_at is None,
    }
    if key.expires_at is not None:
        described["expires_at"] = write_time(key.expires_at.timestamp())
    if key.ends_at is not None:
        described["valid_until"] = write_time(key.ends_at.timestamp())
    return described
