"""What people do about devices that are to come, and about credentials that have to end.

POST /devices                                  announce a device
POST /admin/device/{uuid}/emergency-revoke     end every credential of a device
"""

from ipaddress import ip_address
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter
from pydantic import AfterValidator, StringConstraints

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.detail import detail
from iotistic.control.devices.fleet_answers import DeviceWithStates
from iotistic.control.devices.fleet_schemas import Named, Shape
from iotistic.control.devices.visible import visible
from iotistic.control.provisioning.announcing import Announcing
from iotistic.control.provisioning.key_answers import DeviceRevoked
from iotistic.control.provisioning.model import UNNAMED_FLEET
from iotistic.control.provisioning.revoking import EmergencyRevocation
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.describing import answered

_MAC = r"^$|^([0-9A-Fa-f]{2}[:.-]?){5}[0-9A-Fa-f]{2}$"


def _address(text: str) -> str:
    return str(ip_address(text)) if text else ""


class AnnounceRequest(Shape):
    """A device that is to come. The one that registers with this MAC, or the uuid that is answered, is it."""

    device_name: Named
    device_type: Named = "gateway"
    fleet_id: Named = UNNAMED_FLEET
    mac_address: Annotated[str, StringConstraints(pattern=_MAC)] = ""
    ip_address: Annotated[str, StringConstraints(max_length=64), AfterValidator(_address)] = ""


class RevokeRequest(Shape):
    """Why."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


def arrival_router(pool: asyncpg.Pool, announcing: Announcing, revocation: EmergencyRevocation) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["devices"])

    @router.post("/devices", status_code=201, responses=answered(DeviceWithStates, status=201))
    async def announce_device(
        caller: Annotated[Caller, requires(Permission.DEVICE_WRITE)], asked: AnnounceRequest
    ) -> dict[str, Any]:
        """Announce a device: pending and inactive until it comes, and counted by the plan from now on."""
        uuid = await announcing.announce(
            name=asked.device_name,
            type_=asked.device_type,
            fleet_id=asked.fleet_id,
            mac_address=asked.mac_address,
            ip_address=asked.ip_address,
            by=caller,
        )
        with database_errors():
            return await detail(pool, uuid)

    @router.post("/admin/device/{uuid}/emergency-revoke", responses=answered(DeviceRevoked))
    async def emergency_revoke(
        caller: Annotated[Caller, requires(Permission.DEVICE_DELETE)], uuid: str, asked: RevokeRequest
    ) -> dict[str, Any]:
        """End every API key and certificate of a device, and its account at the broker, at once."""
        named = visible(caller, parse_uuid(uuid))
        revoked = await revocation.revoke(named, asked.reason, by=caller)
        return {
            "status": "ok",
            "uuid": named,
            "keys_revoked": revoked.keys,
            "certificates_revoked": revoked.certificates,
        }

    _ = announce_device, emergency_revoke
    return router
