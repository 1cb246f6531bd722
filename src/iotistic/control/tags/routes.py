"""/devices/{uuid}/tags, /devices/tags/bulk and /tags."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field, model_validator

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.fleet_schemas import Shape, TagKey, TagValue, Uuids
from iotistic.control.devices.visible import visible
from iotistic.control.tags.answers import (
    DeviceTags,
    TagDefinition,
    TagDefinitionGone,
    TagDefinitions,
    TagKeys,
    TagOutcomes,
    TagValues,
)
from iotistic.control.tags.model import MOST_TAGS, Definition
from iotistic.control.tags.service import Change, TagResult, TagService
from iotistic.kernel.web.describing import answered

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_Tags = Annotated[dict[TagKey, TagValue], Field(max_length=MOST_TAGS)]


class TagsRequest(Shape):
    """Tags to set: {tags: {...}}, or one as {key, value}."""

    tags: _Tags = Field(default_factory=dict[str, str])
    key: TagKey | None = None
    value: TagValue = ""

    def wanted(self) -> dict[str, str]:
        """Return all of them."""
        return self.tags if self.key is None else {**self.tags, self.key: self.value}


class BulkTagsRequest(Shape):
    """Tags to set on devices, and keys to take off."""

    device_uuids: Uuids
    tags: _Tags = Field(default_factory=dict[str, str])
    remove: list[TagKey] = Field(default_factory=list[str], max_length=MOST_TAGS)

    @model_validator(mode="after")
    def _says_something(self) -> "BulkTagsRequest":
        if not self.tags and not self.remove:
            raise ValueError("name tags to set, or keys to remove")
        return self


class DefinitionShape(Shape):
    """What values a key may have."""

    description: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    allowed_values: Annotated[list[TagValue], Field(min_length=1, max_length=1000)] | None = None
    is_required: bool = False

    def definition(self, key: str) -> Definition:
        """Return it for a key."""
        allowed = None if self.allowed_values is None else tuple(dict.fromkeys(self.allowed_values))
        return Definition(
            key=key,
            description=self.description,
            allowed_values=allowed,
            is_required=self.is_required,
        )


class NewDefinitionShape(DefinitionShape):
    """A definition with its key."""

    key: TagKey


def tag_router(tags: TagService) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["tags"])
    _add_tags(router, tags)
    _add_definitions(router, tags)
    return router


def _add_tags(router: APIRouter, tags: TagService) -> None:
    @router.get("/devices/{uuid}/tags", responses=answered(DeviceTags))
    async def device_tags(caller: _Reader, uuid: str) -> dict[str, Any]:
        """The tags of a device."""
        return {"tags": await tags.tags(visible(caller, parse_uuid(uuid)))}

    @router.post("/devices/{uuid}/tags", responses=answered(DeviceTags))
    async def set_tags(caller: _Writer, uuid: str, asked: TagsRequest) -> dict[str, Any]:
        """Set tags; others stay."""
        change = Change(tags=asked.wanted())
        return {"tags": await tags.change(visible(caller, parse_uuid(uuid)), change, by=caller)}

    @router.put("/devices/{uuid}/tags", responses=answered(DeviceTags))
    async def replace_tags(caller: _Writer, uuid: str, asked: TagsRequest) -> dict[str, Any]:
        """Set tags; others go."""
        change = Change(tags=asked.wanted(), replaces=True)
        return {"tags": await tags.change(visible(caller, parse_uuid(uuid)), change, by=caller)}

    @router.delete("/devices/{uuid}/tags/{key}", responses=answered(DeviceTags))
    async def remove_tag(caller: _Writer, uuid: str, key: _Key) -> dict[str, Any]:
        """Take a tag off."""
        change = Change(tags={}, removed=frozenset({key}))
        return {"tags": await tags.change(visible(caller, parse_uuid(uuid)), change, by=caller)}

    @router.post("/devices/tags/bulk", responses=answered(TagOutcomes))
    async def set_many(caller: _Writer, asked: BulkTagsRequest) -> dict[str, Any]:
        """Set tags on devices and take others off; a result for each."""
        uuids = [parse_uuid(uuid) for uuid in asked.device_uuids]
        change = Change(tags=asked.tags, removed=frozenset(asked.remove))
        return _bulk(await tags.change_many(uuids, change, by=caller))

    _ = device_tags, set_tags, replace_tags, remove_tag, set_many


def _add_definitions(router: APIRouter, tags: TagService) -> None:
    @router.get(
        "/tags/definitions",
        dependencies=[requires(Permission.DEVICE_READ)],
        responses=answered(TagDefinitions),
    )
    async def list_definitions() -> dict[str, Any]:
        """All definitions."""
        return {"definitions": [_shown(one) for one in await tags.definitions()]}

    @router.post(
        "/tags/definitions",
        status_code=201,
        dependencies=[requires(Permission.DEVICE_WRITE)],
        responses=answered(TagDefinition, status=201),
    )
    async def define(asked: NewDefinitionShape) -> dict[str, Any]:
        """Define a key; refused while devices have other values."""
        await tags.define(asked.definition(asked.key))
        return _shown(asked.definition(asked.key))

    @router.put(
        "/tags/definitions/{key}",
        dependencies=[requires(Permission.DEVICE_WRITE)],
        responses=answered(TagDefinition),
    )
    async def redefine(key: _Key, asked: DefinitionShape) -> dict[str, Any]:
        """Replace a definition; refused while devices have other values."""
        await tags.redefine(asked.definition(key))
        return _shown(asked.definition(key))

    @router.delete(
        "/tags/definitions/{key}",
        dependencies=[requires(Permission.DEVICE_WRITE)],
        responses=answered(TagDefinitionGone),
    )
    async def undefine(key: _Key) -> dict[str, str]:
        """Forget a definition; refused while devices have the tag."""
        await tags.undefine(key)
        return {"status": "ok", "key": key}

    @router.get("/tags/keys", dependencies=[requires(Permission.DEVICE_READ)], responses=answered(TagKeys))
    async def keys() -> dict[str, Any]:
        """The keys in use."""
        return {"keys": await tags.keys()}

    @router.get(
        "/tags/values/{key}", dependencies=[requires(Permission.DEVICE_READ)], responses=answered(TagValues)
    )
    async def values(key: _Key) -> dict[str, Any]:
        """The values of a key, with how many devices have each."""
        found = await tags.values(key)
        return {"key": key, "values": [{"value": value, "devices": count} for value, count in found]}

    _ = list_definitions, define, redefine, undefine, keys, values


def _shown(one: Definition) -> dict[str, Any]:
    allowed = None if one.allowed_values is None else list(one.allowed_values)
    return {
        "key": one.key,
        "description": one.description,
        "allowedValues": allowed,
        "isRequired": one.is_required,
    }


def _bulk(results: list[TagResult]) -> dict[str, Any]:
    shown = [
        {"uuid": one.uuid, "outcome": one.outcome}
        | ({"code": one.error.code, "message": one.error.message} if one.error else {})
        for one in results
    ]
    counts = {name: sum(one.outcome == name for one in results) for name in ("done", "unchanged", "refused")}
    return {**counts, "results": shown}
