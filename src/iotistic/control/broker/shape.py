"""The JSON Schema of payloads, inferred from samples and merged from one to the next; pure, and bounded.

What was seen once stays allowed: a type is added, never taken back. A property is required while every object had
it. Bounds (depth, properties, size of a payload) keep a topic with random keys from filling the database: past them
a part is `{}`, which allows anything.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

_MOST_DEPTH = 6
_MOST_PROPERTIES = 64
_MOST_ITEMS = 32
_MOST_BYTES = 64 * 1024

Schema = dict[str, Any]


def schema_of(payload: bytes) -> Schema | None:
    """Return the schema of one payload, None when it is not JSON, or too large to be looked at."""
    if not payload or len(payload) > _MOST_BYTES:
        return None
    try:
        value: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return _infer(value, 0)


def merged(one: Schema, other: Schema) -> Schema:
    """Return a schema that allows what either allows; the order does not matter."""
    return _merged(one, other)


def _infer(value: object, depth: int) -> Schema:
    if isinstance(value, dict):
        return _object(cast("dict[str, object]", value), depth)
    if isinstance(value, list):
        items = cast("list[object]", value)[:_MOST_ITEMS]
        if depth >= _MOST_DEPTH or not items:
            return {"type": ["array"]}
        shape = _infer(items[0], depth + 1)
        for item in items[1:]:
            shape = _merged(shape, _infer(item, depth + 1))
        return {"type": ["array"], "items": shape}
    return {"type": [_type_of(value)]}


def _object(value: Mapping[str, object], depth: int) -> Schema:
    if depth >= _MOST_DEPTH or len(value) > _MOST_PROPERTIES:
        return {"type": ["object"]}
    properties = {_storable(name): _infer(part, depth + 1) for name, part in sorted(value.items())}
    return {"type": ["object"], "properties": properties, "required": sorted(properties)}


def _storable(name: str) -> str:
    """Return a name that PostgreSQL's JSON holds: no NUL, no half of a surrogate."""
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case _:
            return "string"


def _merged(one: Schema, other: Schema) -> Schema:
    if not one or not other:
        return {}
    types = set(one["type"]) | set(other["type"])
    if "number" in types:
        types.discard("integer")  # every integer is a number
    found: Schema = {"type": sorted(types)}
    if items := _merged_items(one, other):
        found["items"] = items
    if "object" in types:
        found |= _merged_objects(one, other)
    return found


def _merged_items(one: Schema, other: Schema) -> Schema:
    mine, theirs = one.get("items"), other.get("items")
    if mine and theirs:
        return _merged(mine, theirs)
    return mine or theirs or {}


def _merged_objects(one: Schema, other: Schema) -> Schema:
    parts = [part for part in (one, other) if "object" in part["type"]]
    if any("properties" not in part for part in parts):
        return {}  # one of them had too many
    properties: Schema = {}
    for part in parts:
        for name, shape in part["properties"].items():
            properties[name] = _merged(properties[name], shape) if name in properties else shape
    if len(properties) > _MOST_PROPERTIES:
        return {}
    required = [name for name in sorted(properties) if all(name in part["required"] for part in parts)]
    return {"properties": dict(sorted(properties.items())), "required": required}
