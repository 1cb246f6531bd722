"""The list of devices as its description has it, for programs whose client is generated from it.

The answer itself is made from rows as they come (`list_answer`); a test holds the two to each other.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field


class DeviceFigures(BaseModel):
    """In percent; null is what the device has not said."""

    cpu: float | None
    memory: float | None


class DeviceListed(BaseModel):
    """A device in a list; null is what it has not said. Sizes are in bytes, `uptime` in seconds."""

    id: UUID
    uuid: UUID
    number: int
    name: str
    device_type: str
    fleet_id: str
    state: Literal["active", "inactive"]
    is_active: bool
    provisioning_state: Literal["pending", "registered"]
    status: Literal["online", "offline"]
    is_online: bool
    last_seen: datetime | None = Field(alias="lastSeen")
    since: datetime | None
    ip_address: str
    mac_address: str
    os_version: str
    agent_version: str
    cpu_usage: float | None
    cpu_temp: float | None
    memory_usage: int | None
    memory_total: int | None
    storage_usage: int | None
    storage_total: int | None
    uptime: int | None
    target_apps_count: int | None
    current_apps_count: int | None
    target_version: int | None
    current_version: int | None
    needs_deployment: bool
    last_reported: datetime | None
    created_at: datetime
    tags: dict[str, str]
    metrics: DeviceFigures


class DevicesPagination(BaseModel):
    """Where a page is; totals are counted to 10,000 and null where nobody counted."""

    page: int
    limit: int
    total_devices: int | None = Field(alias="totalDevices")
    total_pages: int | None = Field(alias="totalPages")
    total_is_exact: bool = Field(alias="totalIsExact")
    next_cursor: str | None = Field(alias="nextCursor")


class DevicesListed(BaseModel):
    """A page of devices."""

    count: int
    devices: list[DeviceListed]
    pagination: DevicesPagination


LISTED: dict[int | str, dict[str, Any]] = {200: {"model": DevicesListed}}
"""What a route that answers with the list says of it."""
