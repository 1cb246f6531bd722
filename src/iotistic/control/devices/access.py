"""The credential of a device as a rule for routes: `X-Device-API-Key`, or the same as bearer token."""

from starlette.requests import Request

from iotistic.contracts.provisioning.fields import parse_uuid
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


class CheckedInside(AccessRule):
    """A credential that the use case itself checks, in the read that answers; gives the uuid of the path."""

    def __init__(self, credential: str) -> None:
        self.states = credential

    async def __call__(self, request: Request) -> str:
        """Return the device that is meant, empty where the path names none. Raises Invalid."""
        return uuid_in_path(request) if "uuid" in request.path_params else ""
