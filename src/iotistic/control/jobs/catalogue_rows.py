"""Rows of templates and handlers. Every function takes the connection."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.jobs.model import Handler, Template

_TEMPLATE = "id, name, description, category, document, is_active, created_by, created_at, updated_at"
_HANDLER = (
    "id, name, description, script_type, script_content, default_args, created_by, created_at, updated_at"
)


async def add_template(db: Database, values: Mapping[str, Any], by: str, now: datetime) -> Template:
    """Keep a template."""
    row = await db.fetchrow(
        "INSERT INTO job_templates (name, description, category, document, is_active, created_by, created_at, "  # noqa: S608  constant
        f"updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING {_TEMPLATE}",
        values["name"],
        values["description"],
        values["category"],
        json.dumps(dict(values["document"])),
        values["is_active"],
        by,
        now,
    )
    return _template(row)


async def templates(
    db: Database, *, category: str | None, is_active: bool | None, after: str | None, limit: int
) -> list[Template]:
    """Return templates by name."""
    rows = await db.fetch(
        f"SELECT {_TEMPLATE} FROM job_templates WHERE ($1::text IS NULL OR category = $1) "  # noqa: S608  constant
        "AND ($2::boolean IS NULL OR is_active = $2) AND ($3::text IS NULL OR lower(name) > $3) "
        "ORDER BY lower(name) LIMIT $4",
        category,
        is_active,
        after,
        limit,
    )
    return [_template(row) for row in rows]


async def template(db: Database, template_id: UUID) -> Template | None:
    """Return a template."""
    row = await db.fetchrow(f"SELECT {_TEMPLATE} FROM job_templates WHERE id = $1", template_id)  # noqa: S608  constant
    return _template(row) if row else None


async def change_template(
    db: Database, template_id: UUID, values: Mapping[str, Any], now: datetime
) -> Template | None:
    """Change what is named of a template; None when there is no such one."""
    document = values.get("document")
    row = await db.fetchrow(
        "UPDATE job_templates SET name = coalesce($2, name), description = coalesce($3, description), "  # noqa: S608  constant
        "category = coalesce($4, category), document = coalesce($5, document), "
        f"is_active = coalesce($6, is_active), updated_at = $7 WHERE id = $1 RETURNING {_TEMPLATE}",
        template_id,
        values.get("name"),
        values.get("description"),
        values.get("category"),
        None if document is None else json.dumps(dict(document)),
        values.get("is_active"),
        now,
    )
    return _template(row) if row else None


async def remove_template(db: Database, template_id: UUID) -> bool:
    """Remove a template; what was made from it stays. Tell whether it was there."""
    # What its removal changes, locked before it and in the order in which others lock: a schedule that is due refers
    # to the template, parts that are late end their jobs by id.
    for table in ("scheduled_jobs", "job_executions"):
        await db.execute(
            f"SELECT FROM {table} WHERE template_id = $1 ORDER BY id FOR NO KEY UPDATE",
            template_id,
        )
    return await db.execute("DELETE FROM job_templates WHERE id = $1", template_id) == "DELETE 1"


async def add_handler(db: Database, values: Mapping[str, Any], by: str, now: datetime) -> Handler:
    """Keep a handler."""
    row = await db.fetchrow(
        "INSERT INTO job_handlers (name, description, script_type, script_content, default_args, created_by, "  # noqa: S608  constant
        f"created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING {_HANDLER}",
        values["name"],
        values["description"],
        values["script_type"],
        values["script_content"],
        list(values["default_args"]),
        by,
        now,
    )
    return _handler(row)


async def handlers(db: Database, *, after: str | None, limit: int) -> list[Handler]:
    """Return handlers by name."""
    rows = await db.fetch(
        f"SELECT {_HANDLER} FROM job_handlers WHERE ($1::text IS NULL OR name > $1) ORDER BY name LIMIT $2",  # noqa: S608  constant
        after,
        limit,
    )
    return [_handler(row) for row in rows]


async def handler(db: Database, handler_id: UUID) -> Handler | None:
    """Return a handler."""
    row = await db.fetchrow(f"SELECT {_HANDLER} FROM job_handlers WHERE id = $1", handler_id)  # noqa: S608  constant
    return _handler(row) if row else None


async def change_handler(
    db: Database, handler_id: UUID, values: Mapping[str, Any], now: datetime
) -> Handler | None:
    """Change what is named of a handler; None when there is no such one."""
    row = await db.fetchrow(
        "UPDATE job_handlers SET name = coalesce($2, name), description = coalesce($3, description), "  # noqa: S608  constant
        "script_type = coalesce($4, script_type), script_content = coalesce($5, script_content), "
        f"default_args = coalesce($6, default_args), updated_at = $7 WHERE id = $1 RETURNING {_HANDLER}",
        handler_id,
        values.get("name"),
        values.get("description"),
        values.get("script_type"),
        values.get("script_content"),
        values.get("default_args"),
        now,
    )
    return _handler(row) if row else None


async def remove_handler(db: Database, handler_id: UUID) -> bool:
    """Remove a handler; tell whether it was there."""
    return await db.execute("DELETE FROM job_handlers WHERE id = $1", handler_id) == "DELETE 1"


async def default_arguments(db: Database, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the default arguments of those handlers that are known and have some."""
    rows = await db.fetch(
        "SELECT name, default_args FROM job_handlers WHERE name = ANY($1::text[]) AND cardinality(default_args) > 0",
        list(names),
    )
    return {row["name"]: list(row["default_args"]) for row in rows}


def _template(row: Any) -> Template:
    values: dict[str, Any] = dict(row)
    values["document"] = json.loads(row["document"])
    return Template(**values)


def _handler(row: Any) -> Handler:
    values: dict[str, Any] = dict(row)
    values["default_args"] = tuple(row["default_args"])
    return Handler(**values)
