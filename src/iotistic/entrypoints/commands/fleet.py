"""What commands about one device of the fleet share: found by name, its target, what it says, and why it is not so."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel

from iotistic.entrypoints.installation import Api
from iotistic.kernel.errors import Invalid, NotFound

_ONE_TOO_MANY = 2


class FleetDeviceUnknown(NotFound):
    """There is no device of this name in the fleet."""

    code = "fleet.device_unknown"


class FleetDeviceAmbiguous(Invalid):
    """Several devices have this name."""

    code = "fleet.device_ambiguous"


class Named(BaseModel):
    """A device in a list, as far as it matters here."""

    uuid: str


class Devices(BaseModel):
    """A page of devices."""

    devices: list[Named]


class TargetTold(BaseModel):
    """A target in force, and what waits."""

    uuid: str
    version: int
    etag: str
    apps: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any] | None = None
    needs_deployment: bool
    last_deployed_at: str
    deployed_by: str
    draft: dict[str, Any] | None = None


class DeployedTold(BaseModel):
    """What was deployed."""

    version: int
    etag: str
    apps: dict[str, Any]
    images: dict[str, Any] | None = None


class StateTold(BaseModel):
    """What a device said last."""

    state: dict[str, Any]


class Reason(BaseModel):
    """One reason, in words, with the fix."""

    code: str
    sentence: str
    fix: str


class WhyTold(BaseModel):
    """What stands in the way."""

    chain: list[Reason]


def fleet_uuid(api: Api, named: str) -> str:
    """Return the uuid of a device, given that or its name. Raises FleetDeviceUnknown, FleetDeviceAmbiguous."""
    try:
        return str(UUID(named))
    except ValueError:
        pass
    found = api.get("/devices", Devices, name=named, limit=_ONE_TOO_MANY).devices
    if not found:
        raise FleetDeviceUnknown(f"there is no device {named!r}", hint="give its uuid")
    if len(found) > 1:
        raise FleetDeviceAmbiguous(f"several devices are named {named!r}", hint="give the uuid")
    return found[0].uuid
