"""Provisioning keys, and what people do about devices that are to come, as they are answered."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field
from pydantic.alias_generators import to_camel

from iotistic.kernel.web.describing import Answer


class _Camel(Answer, alias_generator=to_camel):
    pass


class ProvisioningKeyRow(_Camel):
    """A key that lets devices in, without the key."""

    id: str
    fleet_id: str
    description: str
    max_uses: int
    current_uses: int
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: str | None


class NewProvisioningKey(ProvisioningKeyRow):
    """A key that was just made; `key` is in this answer and nowhere else."""

    key: str
    max_devices: int = Field(description="Another word for `maxUses`.")
    warning: str


class ProvisioningKeyList(Answer):
    """The keys of a fleet, or of all (null), the newest first."""

    fleet_id: str | None
    count: int
    keys: list[ProvisioningKeyRow]


class ProvisioningKeyRevoked(_Camel):
    """That a key is good no more."""

    success: Literal[True]
    status: Literal["ok"]
    message: str
    key_id: str
    reason: str | None


class DeviceRevoked(Answer):
    """How many credentials of a device were ended."""

    status: Literal["ok"]
    uuid: UUID
    keys_revoked: int
    certificates_revoked: int
