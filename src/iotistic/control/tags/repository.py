"""Rows of tags and their definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

from iotistic.control.devices.repository import Database
from iotistic.control.tags.model import Definition

_DEFINITION = "key, description, allowed_values, is_required"
_LOCK = "hashtextextended('tags', 0)"


async def lock(db: Database, *, definitions: bool) -> None:
    """Let tags be set by many at once, and by nobody while a definition changes."""
    shared = "" if definitions else "_shared"
    await db.execute(f"SELECT pg_advisory_xact_lock{shared}({_LOCK})")


async def definitions(db: Database, keys: Sequence[str] | None = None) -> dict[str, Definition]:
    """Return definitions by key; all of them when none is named."""
    rows = await db.fetch(
        f"SELECT {_DEFINITION} FROM tag_definitions "  # noqa: S608  constant
        "WHERE $1::text[] IS NULL OR key = ANY($1) ORDER BY key",
        None if keys is None else list(keys),
    )
    return {row["key"]: _definition(row) for row in rows}


async def add_definition(db: Database, new: Definition) -> bool:
    """Keep a definition; return False when the key has one."""
    done = await db.execute(
        "INSERT INTO tag_definitions (key, description, allowed_values, is_required) "
        "VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING",
        *_values(new),
    )
    return done == "INSERT 0 1"


async def change_definition(db: Database, new: Definition) -> bool:
    """Replace a definition; return False when there is none."""
    done = await db.execute(
        "UPDATE tag_definitions SET description = $2, allowed_values = $3, is_required = $4, "
        "updated_at = now() WHERE key = $1",
        *_values(new),
    )
    return done == "UPDATE 1"


async def remove_definition(db: Database, key: str) -> bool:
    """Forget a definition; return False when there is none."""
    return await db.execute("DELETE FROM tag_definitions WHERE key = $1", key) == "DELETE 1"


async def values_of(db: Database, key: str, limit: int = 1000) -> list[tuple[str, int]]:
    """Return the values that devices have for a key, with how many have each."""
    rows = await db.fetch(
        "SELECT value, count(*) AS devices FROM device_tags WHERE key = $1 GROUP BY value ORDER BY value LIMIT $2",
        key,
        limit,
    )
    return [(row["value"], row["devices"]) for row in rows]


async def misfits(db: Database, definition: Definition) -> list[str]:
    """Return some values in use that a definition does not allow."""
    if definition.allowed_values is None:
        return []
    rows = await db.fetch(
        "SELECT DISTINCT value FROM device_tags WHERE key = $1 AND value <> ALL($2::text[]) LIMIT 20",
        definition.key,
        list(definition.allowed_values),
    )
    return [row["value"] for row in rows]


async def keys(db: Database) -> list[str]:
    """Return the keys in use, by a loose scan of the index."""
    rows = await db.fetch(
        "WITH RECURSIVE found AS ((SELECT key FROM device_tags ORDER BY key LIMIT 1) UNION ALL "
        "SELECT (SELECT t.key FROM device_tags t WHERE t.key > f.key ORDER BY t.key LIMIT 1) "
        "FROM found f WHERE f.key IS NOT NULL) SELECT key FROM found WHERE key IS NOT NULL LIMIT 1000"
    )
    return [row["key"] for row in rows]


async def lock_devices(db: Database, uuids: Sequence[str]) -> list[str]:
    """Return those of the devices that there are; nobody else changes their tags until we are done."""
    rows = await db.fetch(
        "SELECT uuid::text FROM fleet_devices WHERE uuid = ANY($1::text[]::uuid[]) "
        "ORDER BY uuid FOR NO KEY UPDATE",
        list(uuids),
    )
    return [row["uuid"] for row in rows]


async def tags_of(db: Database, uuids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the tags of devices."""
    rows = await db.fetch(
        "SELECT device_uuid::text AS uuid, key, value FROM device_tags "
        "WHERE device_uuid = ANY($1::text[]::uuid[]) ORDER BY device_uuid, key",
        list(uuids),
    )
    found: dict[str, dict[str, str]] = {uuid: {} for uuid in uuids}
    for row in rows:
        found[row["uuid"]][row["key"]] = row["value"]
    return found


async def put(db: Database, tags: Sequence[tuple[str, str, str]]) -> None:
    """Set tags by (uuid, key, value)."""
    await db.execute(
        "INSERT INTO device_tags (device_uuid, key, value) "
        "SELECT * FROM unnest($1::text[]::uuid[], $2::text[], $3::text[]) "
        "ON CONFLICT (device_uuid, key) DO UPDATE SET value = EXCLUDED.value, set_at = now() "
        "WHERE device_tags.value <> EXCLUDED.value",
        [uuid for uuid, _, _ in tags],
        [key for _, key, _ in tags],
        [value for _, _, value in tags],
    )


async def remove(db: Database, tags: Sequence[tuple[str, str]]) -> None:
    """Take tags off by (uuid, key)."""
    await db.execute(
        "DELETE FROM device_tags t USING unnest($1::text[]::uuid[], $2::text[]) gone (uuid, key) "
        "WHERE t.device_uuid = gone.uuid AND t.key = gone.key",
        [uuid for uuid, _ in tags],
        [key for _, key in tags],
    )


def _values(new: Definition) -> tuple[object, ...]:
    allowed = None if new.allowed_values is None else list(new.allowed_values)
    return (new.key, new.description, allowed, new.is_required)


def _definition(row: Mapping[str, Any]) -> Definition:
    allowed = None if row["allowed_values"] is None else tuple(row["allowed_values"])
    return Definition(
        key=row["key"],
        description=row["description"],
        allowed_values=allowed,
        is_required=row["is_required"],
    )
