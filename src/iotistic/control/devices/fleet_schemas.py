"""What the routes about devices of a fleet take and give; the names are those that dashboards know."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.devices.lifecycle import MOST_AT_ONCE, ItemResult
from iotistic.control.devices.listing import MOST_COUNTED, Listed, Order, Page
from iotistic.control.devices.selection import DeviceFilter, Lifecycle, Operator, TagSelector
from iotistic.telemetry.query.parameters import Cursor, Instant, Parameters

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
Named = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_NO_CONTROLS)]
Described = Annotated[str, StringConstraints(max_length=255, pattern=_NO_CONTROLS)]
Uuids = Annotated[list[Annotated[str, Field(max_length=40)]], Field(min_length=1, max_length=MOST_AT_ONCE)]
TagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
TagValue = Annotated[str, StringConstraints(max_length=255, pattern=_NO_CONTROLS)]


class Shape(BaseModel):
    """Names in camelCase on the wire; snake_case is read too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class DevicesQuery(Parameters):
    """Which devices, in which order, which part of them."""

    q: Named | None = Field(
        None, description="Part of a name, uuid, MAC, type or address; one or two characters begin a name."
    )
    name: Named | None = Field(None, description="A whole name, in capitals or not.")
    mac: Named | None = Field(None, description="A MAC or a part of one, with separators or without.")
    type: list[Named] = Field(default_factory=list[str], max_length=50)
    fleet: list[Named] = Field(default_factory=list[str], max_length=50)
    version: list[Described] = Field(default_factory=list[str], max_length=50, description="Of the agent.")
    tag: list[Named] = Field(
        default_factory=list[str], max_length=10, description="KEY, KEY:VALUE, or !KEY; all have to hold."
    )
    online: bool | None = None
    filter: str = Field("all", pattern="^(all|active|inactive)$")
    seen_before: Instant | None = Field(None, description="Only devices that were not seen since.")
    sort: Order = Order.NAME
    page: int = Field(1, ge=1, le=100_000)
    limit: int = Field(50, ge=1, le=500)
    cursor: Cursor = None

    def wanted(self, scope: Sequence[Any] | None) -> DeviceFilter:
        """Return the filter."""
        return DeviceFilter(
            scope=scope,
            text=self.q,
            name=self.name,
            mac=self.mac,
            types=tuple(self.type),
            fleets=tuple(self.fleet),
            versions=tuple(self.version),
            lifecycle=None if self.filter == "all" else Lifecycle(self.filter),
            is_online=self.online,
            seen_before=self.seen_before,
            tags=tuple(selector_of(text) for text in self.tag),
        )

    def asked(self) -> Page:
        """Return the part."""
        return Page(order=self.sort, limit=self.limit, cursor=self.cursor, number=self.page)


class SelectorShape(Shape):
    """A condition on a tag."""

    key: TagKey
    operator: Operator = Operator.IN
    values: list[TagValue] = Field(default_factory=list[str], max_length=100)
    value: TagValue | None = None

    def selector(self) -> TagSelector:
        """Return it; without any value an `in` is about the key alone."""
        values = (*self.values, *(() if self.value is None else (self.value,)))
        operator = Operator.EXISTS if self.operator is Operator.IN and not values else self.operator
        return TagSelector(self.key, operator, values)


class SelectionRequest(Shape):
    """Devices by their tags."""

    tag_selectors: list[SelectorShape] | dict[TagKey, TagValue] = Field(max_length=20)
    sort: Order = Order.NAME
    limit: int = Field(50, ge=1, le=500)
    cursor: Cursor = None

    def selectors(self) -> tuple[TagSelector, ...]:
        """Return all conditions."""
        if isinstance(self.tag_selectors, Mapping):
            return tuple(TagSelector(key, Operator.IN, (value,)) for key, value in self.tag_selectors.items())
        return tuple(one.selector() for one in self.tag_selectors)


class ActiveRequest(BaseModel):
    """Whether a device is to be active."""

    model_config = ConfigDict(extra="forbid")

    is_active: bool


def _hide_default(schema: dict[str, Any]) -> None:
    """Leave out of the description what would break its own rule: absent means "stays", and no text is too short."""
    schema.pop("default", None)


_Changed = Annotated[Named, Field(json_schema_extra=_hide_default)]


class DescribeRequest(Shape):
    """What to change of a device; what is absent stays."""

    device_name: _Changed = ""
    device_type: _Changed = ""
    fleet_id: _Changed = ""
    mac_address: Described = ""
    ip_address: Described = ""

    def values(self) -> dict[str, str]:
        """Return what is to change, by column."""
        columns = {"device_name": "name", "device_type": "type"}
        given = self.model_dump(exclude_unset=True)
        return {columns.get(name, name): value for name, value in given.items()}


class BulkRequest(Shape):
    """Which devices."""

    device_uuids: Uuids

    def uuids(self) -> list[str]:
        """Return them. Raises Invalid."""
        return [parse_uuid(uuid) for uuid in self.device_uuids]


def bulk_answer(results: Sequence[ItemResult]) -> dict[str, Any]:
    """Return what became of each device."""
    counts = dict.fromkeys(("done", "unchanged", "unknown"), 0)
    for one in results:
        counts[one.outcome.value] += 1
    return {**counts, "results": [{"uuid": one.uuid, "outcome": one.outcome.value} for one in results]}


def selector_of(text: str) -> TagSelector:
    """Read KEY, KEY:VALUE or !KEY."""
    if text.startswith("!"):
        return TagSelector(text[1:], Operator.MISSING)
    key, colon, value = text.partition(":")
    return TagSelector(key, Operator.IN, (value,)) if colon else TagSelector(key, Operator.EXISTS)


def list_answer(listed: Listed, asked: Page) -> dict[str, Any]:
    """Return a page of the list."""
    total = listed.total if listed.is_exact else MOST_COUNTED
    pages = None if total is None else -(-total // asked.limit)
    return {
        "count": len(listed.rows),
        "devices": [device_answer(row) for row in listed.rows],
        "pagination": {
            "page": asked.number,
            "limit": asked.limit,
            "totalDevices": total,
            "totalPages": pages,
            "totalIsExact": listed.is_exact,
            "nextCursor": listed.next_cursor,
        },
    }


def device_answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a device as the list shows it; what it has not said is null."""
    return {
        "id": row["uuid"],
        "uuid": row["uuid"],
        "number": row["number"],
        "name": row["name"],
        "device_type": row["type"],
        "fleet_id": row["fleet_id"],
        "state": "active" if row["is_active"] else "inactive",
        "is_active": row["is_active"],
        "provisioning_state": row["provisioning_state"],
        "status": "online" if row["is_online"] else "offline",
        "is_online": row["is_online"],
        "lastSeen": row["last_seen"],
        "since": row["changed_at"] if row["last_seen"] else None,
        **{name: row[name] for name in ("ip_address", "mac_address", "os_version", "agent_version")},
        "cpu_usage": row["cpu_usage"],
        "cpu_temp": row["temperature"],
        **{name: _whole(row[name]) for name in _SIZES},
        "target_apps_count": row["target_apps"],
        "current_apps_count": row["current_apps"],
        "target_version": row["target_version"],
        "current_version": _whole(row["current_version"]),
        "needs_deployment": bool(row["needs_deployment"]),
        "last_reported": row["reported_at"],
        "created_at": row["created_at"],
        "tags": json.loads(row["tags"] or "{}"),
        "metrics": {"cpu": row["cpu_usage"], "memory": _share(row)},
    }


_SIZES = ("memory_usage", "memory_total", "storage_usage", "storage_total", "uptime")


def _share(row: Mapping[str, Any]) -> float | None:
    used, total = row["memory_usage"], row["memory_total"]
    return round(100 * used / total, 1) if used is not None and total else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
