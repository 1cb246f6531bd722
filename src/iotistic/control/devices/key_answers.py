"""What a device is answered about its keys, and about its leaving."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from iotistic.kernel.web.describing import Absent, Answer


class DeviceKey(Answer):
    """A key of a device, without the key."""

    created_at: datetime
    is_newest: bool
    expires_at: datetime | Absent = Field(None, description="Until when the device can count on it.")
    valid_until: datetime | Absent = Field(None, description="When it is refused; not there for the newest.")


class DeviceKeyStatus(Answer):
    """How long the key that asks is good."""

    data: DeviceKey


class DeviceKeyHistory(Answer):
    """Keys of a device, the newest first."""

    count: int
    history: list[DeviceKey]


class RotatedDeviceKey(Answer):
    """A new key; the two last fields are two names of one time."""

    new_api_key: str
    expires_at: datetime
    grace_period_ends: datetime
    old_key_valid_until: datetime


class DeviceKeyRotation(Answer):
    """A new key of a device; it is in this answer and nowhere else."""

    data: RotatedDeviceKey


class DeviceGone(Answer):
    """That a device is forgotten."""

    status: Literal["ok"]
    uuid: UUID
