"""Devices as the gate of all routes looks them up: `device_credential()` of control/access."""

from uuid import UUID

from iotistic.control.access.model import DevicePrincipal
from iotistic.control.devices.model import DeviceInactive, DeviceKeyUnknown, DeviceUnknown
from iotistic.control.devices.service import DeviceService


class FleetDeviceSource:
    """Finds devices by their API keys."""

    def __init__(self, service: DeviceService) -> None:
        self._service = service

    async def find(self, key: str, claimed: UUID | None) -> DevicePrincipal | None:
        """Return whose key this is; one of another device than the claimed is nobody's."""
        if claimed is None:
            owner = await self._service.owner(key)
            return None if owner is None else DevicePrincipal(device_uuid=UUID(owner))
        try:
            await self._service.recognise(str(claimed), key)
        except (DeviceKeyUnknown, DeviceUnknown, DeviceInactive):
            return None
        return DevicePrincipal(device_uuid=claimed)
