"""Rows of applications, and the sequences that number apps and services."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iotistic.control.devices.repository import Database

_COLUMNS = "app_id, name, slug, description, default_config, created_at, updated_at"
_MOST_ID = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """An app as it is known beside devices; `default_config` is {services?, rollingUpdate?}."""

    app_id: int
    name: str
    slug: str
    description: str
    default_config: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


async def next_app_id(db: Database) -> int:
    """Return a number that no app of this installation has had from here, nor has now as an application."""
    while True:
        found = await db.fetchval("SELECT nextval('global_app_id_seq')")
        if not await db.fetchval("SELECT EXISTS (SELECT FROM applications WHERE app_id = $1)", found):
            return found


async def next_service_ids(db: Database, how_many: int) -> list[int]:
    """Return numbers for services, each given once."""
    rows = await db.fetch(
        "SELECT nextval('global_service_id_seq') AS id FROM generate_series(1, $1)", how_many
    )
    return [row["id"] for row in rows]


async def find(db: Database, app_id: int, *, for_update: bool = False) -> Application | None:
    """Return an application."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM applications WHERE app_id = $1{' FOR UPDATE' if for_update else ''}",  # noqa: S608  constants
        app_id,
    )
    return _application(row) if row else None


async def find_by_text(db: Database, app_id: str) -> Application | None:
    """Return the application of an app's id, which may be no number at all."""
    is_number = app_id.isascii() and app_id.isdecimal() and int(app_id) < _MOST_ID
    return await find(db, int(app_id)) if is_number else None


async def list_all(db: Database, *, after: int, limit: int) -> list[Application]:
    """Return applications by their number, those after one."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM applications WHERE app_id > $1 ORDER BY app_id LIMIT $2",  # noqa: S608  constant
        after,
        limit,
    )
    return [_application(row) for row in rows]


async def add(db: Database, new: Application) -> bool:
    """Keep an application; return False when its number or slug is taken."""
    done = await db.execute(
        f"INSERT INTO applications ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",  # noqa: S608  constant
        *_values(new),
    )
    return done == "INSERT 0 1"


async def put(db: Database, new: Application) -> None:
    """Replace an application."""
    await db.execute(
        "UPDATE applications SET name = $2, slug = $3, description = $4, default_config = $5, created_at = $6, "
        "updated_at = $7 WHERE app_id = $1",
        *_values(new),
    )


async def remove(db: Database, app_id: int) -> None:
    """Forget an application."""
    await db.execute("DELETE FROM applications WHERE app_id = $1", app_id)


async def devices_with(db: Any, app_id: int, limit: int) -> list[str]:
    """Return some of the devices whose target, or what waits to be it, has this app. In a transaction.

    Targets are text, and may hold what jsonb cannot (NUL); so the text narrows down, and is then read here.
    """
    cursor = db.cursor(
        "SELECT device_uuid::text, document, draft FROM device_targets "
        "WHERE strpos(document, $1) > 0 OR strpos(draft, $1) > 0",
        f'"{app_id}":',
        prefetch=100,
    )
    found: list[str] = []
    async for row in cursor:
        texts = [text for text in (row["document"], row["draft"]) if text is not None]
        if any(str(app_id) in json.loads(text).get("apps", {}) for text in texts):
            found.append(row["device_uuid"])
        if len(found) == limit:
            break
    return found


def _values(new: Application) -> tuple[object, ...]:
    described = (new.app_id, new.name, new.slug, new.description, json.dumps(new.default_config))
    return (*described, new.created_at, new.updated_at)


def _application(row: Any) -> Application:
    values = dict(row)
    return Application(**{**values, "default_config": json.loads(values["default_config"])})
