"""The devices that a caller sees: where every question about one begins."""

from uuid import UUID

from iotistic.control.access.model import Caller


def visible(caller: Caller, uuid: str) -> str:
    """Return the uuid of a device that the caller may see. Raises OutOfScope."""
    caller.scope.require(UUID(uuid))
    return uuid
