"""Which devices: all conditions that are given have to hold. Every value is a parameter of one fixed statement."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from iotistic.control.access.model import Scope
from iotistic.control.devices.repository import Database
from iotistic.control.rollouts.model import NobodySelected, TagsUnavailable, TooManyDevices
from iotistic.control.rollouts.signals import TagSource

_Word = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
_MOST_NAMED = 20_000

_SELECT = (
    "SELECT d.uuid FROM fleet_devices d "
    "WHERE ($1::uuid[] IS NULL OR d.uuid = ANY($1)) "
    "AND ($2::uuid[] IS NULL OR d.uuid = ANY($2)) "
    "AND ($3::uuid[] IS NULL OR d.uuid = ANY($3)) "
    "AND ($4::text IS NULL OR d.fleet_id = $4) "
    "AND ($5::text IS NULL OR d.type = $5) "
    "AND ($6::text IS NULL OR d.application_id = $6) "
    "AND ($7::text IS NULL OR d.agent_version = $7) "
    "AND ($8::text IS NULL OR d.os_version = $8) "
    "AND ($9::text IS NULL OR position(lower($9) IN lower(d.name)) > 0) "
    "AND ($10::text IS NULL OR EXISTS (SELECT FROM device_states s, "
    "     jsonb_path_query(s.fields, '$.apps.*.services[*].imageName') AS image "
    "     WHERE s.device_uuid = d.uuid AND image #>> '{}' = $10)) "
    "ORDER BY d.uuid LIMIT $11"
)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class DeviceFilter(_Shape):
    """What devices are like."""

    type: _Word | None = None
    application_id: _Word | None = None
    agent_version: _Word | None = None
    os_version: _Word | None = None
    name_contains: _Word | None = None
    runs_image: _Word | None = None
    """An image, as the device reports its name."""


class Selection(_Shape):
    """Devices by name, fleet, tags and what they are like; at least one of them, or `all`."""

    devices: tuple[UUID, ...] | None = Field(default=None, max_length=_MOST_NAMED)
    fleet: _Word | None = None
    tags: dict[_Word, _Word] | None = None
    filter: DeviceFilter | None = None
    all: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> "Selection":
        said = self.devices is not None or self.fleet or self.tags or self.filter
        if bool(said) == self.all:
            raise ValueError("say devices, fleet, tags or filter; or all: true, and nothing else")
        return self

    def write(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


async def select(
    db: Database, selection: Selection, scope: Scope, tags: TagSource | None, *, most: int
) -> list[UUID]:
    """Return the devices, in order. Raises NobodySelected, TooManyDevices, TagsUnavailable."""
    tagged = await _tagged(selection.tags, tags)
    wanted = selection.filter or DeviceFilter()
    rows = await db.fetch(
        _SELECT,
        scope.parameter(),
        None if selection.devices is None else list(selection.devices),
        tagged,
        selection.fleet,
        wanted.type,
        wanted.application_id,
        wanted.agent_version,
        wanted.os_version,
        wanted.name_contains,
        wanted.runs_image,
        most + 1,
    )
    if not rows:
        raise NobodySelected(hint="GET /devices says which there are")
    if len(rows) > most:
        raise TooManyDevices(f"more than {most} devices are selected", limit=most, hint="select fewer")
    return [row["uuid"] for row in rows]


async def _tagged(tags: Mapping[str, str] | None, source: TagSource | None) -> list[UUID] | None:
    if not tags:
        return None
    if source is None:
        raise TagsUnavailable(hint="select by devices, fleet or filter")
    found: Collection[UUID] = await source.tagged(tags)
    return sorted(found)
