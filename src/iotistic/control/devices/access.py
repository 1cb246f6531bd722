"""The credential of a device as a rule for routes: `X-Device-API-Key`, or the same as bearer token."""

from uuid import UUID

from fastapi.security import HTTPAuthorizationCredentials
from starlette.requests import Request

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import Gate, Needs
from iotistic.control.devices.model import DeviceKeyMissing
from iotistic.control.devices.service import DeviceService
from iotistic.kernel.web.auth import AccessRule

KEY_HEADER = "X-Device-API-Key"


def presented_key(request: Request) -> str:
    """Return the API key that a request shows. Raises DeviceKeyMissing."""
    if key := request.headers.get(KEY_HEADER, "").strip():
        return key
    if token := bearer(request):
        return token
    raise DeviceKeyMissing(hint=f"send the device's API key in the header {KEY_HEADER}")


def bearer(request: Request) -> str:
    """Return the bearer token of a request, empty when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def uuid_in_path(request: Request) -> str:
    """Return the device that a path names. Raises Invalid."""
    return parse_uuid(str(request.path_params["uuid"]))


class OwnDevice(AccessRule):
    """The device that the path names, by its own key; gives its uuid."""

    states = "the device's own API key"

    def __init__(self, service: DeviceService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> str:
        """Raise DeviceKeyMissing, DeviceKeyUnknown (401), DeviceInactive (403), DeviceUnknown (404)."""
        key, uuid = presented_key(request), uuid_in_path(request)
        await self._service.recognise(uuid, key)
        return uuid


class OwnDeviceOr(AccessRule):
    """The device that the path names, or somebody with a permission; gives its uuid, and that somebody."""

    def __init__(self, service: DeviceService, permission: Permission) -> None:
        self._own, self._needs = OwnDevice(service), Needs(permission)
        self.states = f"{permission.value}, or the device's own API key"

    async def __call__(self, request: Request) -> tuple[str, Caller | None]:
        """Raise what OwnDevice raises, or PermissionMissing, PasswordChangeNeeded, OutOfScope."""
        token = "" if request.headers.get(KEY_HEADER) else bearer(request)
        gate: object = getattr(request.app.state, "gate", None)
        if not token or not isinstance(gate, Gate) or await gate.callers.find(token) is None:
            return await self._own(request), None
        caller = await self._needs(request, HTTPAuthorizationCredentials(scheme="Bearer", credentials=token))
        uuid = uuid_in_path(request)
        caller.scope.require(UUID(uuid))
        return uuid, caller


class CheckedInside(AccessRule):
    """A credential that the use case itself checks, in the read that answers; gives the uuid of the path."""

    def __init__(self, credential: str) -> None:
        self.states = credential

    async def __call__(self, request: Request) -> str:
        """Return the device that is meant, empty where the path names none. Raises Invalid."""
        return uuid_in_path(request) if "uuid" in request.path_params else ""
