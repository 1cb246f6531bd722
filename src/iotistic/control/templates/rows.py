"""Rows of templates, and what a device fills them with."""

import json
from datetime import datetime
from typing import Any

from iotistic.control.devices.repository import Database
from iotistic.control.templates.model import Template, Values

_SELECT = (
    "SELECT t.name, t.description, v.version, t.newest, t.is_default, v.content, v.parameters, v.created_at, "
    "v.created_by FROM target_templates t JOIN target_template_versions v ON v.template = t.name "
)


async def find(db: Database, name: str, version: int | None = None) -> Template | None:
    """Return a template, its newest version unless another is named."""
    row = await db.fetchrow(
        f"{_SELECT} WHERE t.name = $1 AND v.version = coalesce($2, t.newest)", name, version
    )
    return _template(row) if row else None


async def find_default(db: Database) -> Template | None:
    """Return what new devices begin with."""
    row = await db.fetchrow(f"{_SELECT} WHERE t.is_default AND v.version = t.newest")
    return _template(row) if row else None


async def newest(db: Database, *, after: str, limit: int) -> list[Template]:
    """Return the newest version of each template, by name."""
    rows = await db.fetch(
        f"{_SELECT} WHERE v.version = t.newest AND t.name > $1 ORDER BY t.name LIMIT $2", after, limit
    )
    return [_template(row) for row in rows]


async def lock(db: Database) -> None:
    """Let nobody else change templates until the transaction ends: there is one default at most."""
    await db.execute("LOCK TABLE target_templates IN SHARE ROW EXCLUSIVE MODE")


async def put(db: Database, new: Template, *, at: datetime) -> None:
    """Keep a template, new or changed; the default that it takes the place of is none any more. Under the lock."""
    if new.is_default:
        await db.execute(
            "UPDATE target_templates SET is_default = false WHERE is_default AND name <> $1", new.name
        )
    await db.execute(
        "INSERT INTO target_templates (name, description, newest, is_default, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (name) DO UPDATE SET description = EXCLUDED.description, "
        "newest = EXCLUDED.newest, is_default = EXCLUDED.is_default, updated_at = EXCLUDED.updated_at",
        new.name,
        new.description,
        new.newest,
        new.is_default,
        at,
    )
    await db.execute(
        "INSERT INTO target_template_versions (template, version, content, parameters, created_at, created_by) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (template, version) DO NOTHING",
        new.name,
        new.version,
        json.dumps(new.content),
        json.dumps(new.parameters),
        new.created_at,
        new.created_by,
    )


async def remove(db: Database, name: str) -> bool:
    """Forget a template with its versions; return False when there is none."""
    return await db.execute("DELETE FROM target_templates WHERE name = $1", name) == "DELETE 1"


async def values_of(db: Database, uuid: str) -> Values | None:
    """Return what a device fills variables with, but for parameters."""
    row = await db.fetchrow(
        "SELECT uuid::text, name, type, fleet_id, number, mac_address, application_id FROM fleet_devices "
        "WHERE uuid = $1::text::uuid",
        uuid,
    )
    if row is None:
        return None
    tags = await db.fetch("SELECT key, value FROM device_tags WHERE device_uuid = $1::text::uuid", uuid)
    device = {
        "uuid": row["uuid"],
        "name": row["name"],
        "type": row["type"],
        "fleet": row["fleet_id"],
        "number": row["number"],
        "mac": row["mac_address"],
        "application": row["application_id"],
    }
    return Values(device=device, tags={tag["key"]: tag["value"] for tag in tags})


def _template(row: Any) -> Template:
    values = dict(row)
    read = {name: json.loads(values[name]) for name in ("content", "parameters")}
    return Template(**{**values, **read})
