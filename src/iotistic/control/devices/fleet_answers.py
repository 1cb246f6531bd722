"""What is answered about devices as its description has it, for programs whose client is generated from it.

The answers themselves are made from rows as they come (`list_answer`, `detail`); tests hold the two to each other.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from iotistic.kernel.web.describing import Answer, answered


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


class DeviceTarget(Answer):
    """What a device is to run."""

    apps: dict[str, Any]
    config: dict[str, Any]
    version: int
    needs_deployment: bool = Field(description="Whether something was set since and waits to be deployed.")
    last_deployed_at: datetime
    deployed_by: str
    updated_at: datetime


class DeviceReport(Answer):
    """What a device said of itself last; nothing that it says is held to a shape."""

    apps: Any = Field(description="By the number of the app.", examples=[{}])
    config: Any = Field(examples=[{}])
    version: Any = Field(description="Of the target that it has reached.", examples=[3])
    system_info: dict[str, Any] = Field(description="Everything else that it reported.")
    reported_at: datetime


class DeviceWithStates(Answer):
    """A device with its target and its report."""

    device: DeviceListed
    target_state: DeviceTarget | None
    current_state: DeviceReport | None


class DeviceInterfaces(Answer):
    """Network interfaces in the words of the device."""

    count: int
    interfaces: list[dict[str, Any]]
    reported_at: datetime | None = Field(description="Null where it never reported.")


class DeviceActive(Answer):
    """That a device is on or off now."""

    status: Literal["ok"]
    uuid: UUID
    is_active: bool


class DeviceOutcome(Answer):
    """What became of one device; `unknown` is one that is not there, or that the caller does not see."""

    uuid: UUID
    outcome: Literal["done", "unchanged", "unknown"]


class DeviceOutcomes(Answer):
    """What became of devices, in the order of the request."""

    done: int
    unchanged: int
    unknown: int
    results: list[DeviceOutcome]


LISTED, DETAILED = answered(DevicesListed), answered(DeviceWithStates)
"""What routes that answer with the list, or with one device, say of it."""
