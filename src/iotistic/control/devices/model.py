"""What a device of a fleet is, and why it may be refused."""

from dataclasses import dataclass
from datetime import datetime

from iotistic.kernel.errors import Conflict, Denied, Invalid, NotFound
from iotistic.kernel.web.problems import RateLimited, Unauthenticated


class DeviceUnknown(NotFound):
    """There is no such device."""

    code = "device.unknown"


class DeviceKeyMissing(Unauthenticated):
    """The API key of the device is missing."""

    code = "device.key_missing"


class DeviceKeyUnknown(Unauthenticated):
    """The API key is not one of this device, or it is good no more."""

    code = "device.key_unknown"


class DeviceInactive(Denied):
    """The device was switched off by an operator."""

    code = "device.inactive"


class DeviceKeyWeak(Invalid):
    """The API key of the device could be guessed."""

    code = "device.key_weak"


class MacAwaited(Conflict):
    """A device with this MAC is announced already."""

    code = "device.mac_awaited"


class RotatedTooOften(RateLimited):
    """This device had several new keys within the last hour."""

    code = "device.rotated_too_often"


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device as the cloud knows it; times are aware."""

    uuid: str
    number: int
    name: str
    type: str
    fleet_id: str
    application_id: str = ""
    mac_address: str = ""
    os_version: str = ""
    agent_version: str = ""
    is_active: bool = True
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDevice:
    """What is known of a device before it is one."""

    uuid: str
    name: str
    type: str
    fleet_id: str
    application_id: str = ""
    mac_address: str = ""
    os_version: str = ""
    agent_version: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is kept of an API key."""

    digest: bytes
    origin: str
    created_at: datetime
    due_at: datetime | None
    """When the device should have another."""
    ends_at: datetime | None
    """When it is refused; None for the newest."""

    def is_good(self, now: datetime) -> bool:
        """Say whether it is still taken."""
        return self.ends_at is None or self.ends_at > now

    @property
    def expires_at(self) -> datetime | None:
        """Until when the device can count on it."""
        return self.ends_at or self.due_at
