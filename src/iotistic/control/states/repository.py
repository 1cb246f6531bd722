"""Rows of targets and reports."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iotistic.control.devices.repository import Database
from iotistic.control.states.model import Report, Standing, Target

# Of `device_states s`. A device may report any version: what is not a whole number of a usual size is none.
REPORTED_VERSION = "CASE WHEN s.fields->>'version' ~ '^[0-9]{1,15}$' THEN (s.fields->>'version')::bigint END"
_TARGET = "version, document, etag, deployed_at, deployed_by"

POLL = (
    # One statement, three look-ups by primary key: who asks, whether he may, and what is new for him.
    "SELECT c.digest, c.is_active, t.etag, CASE WHEN t.etag = ANY($4::text[]) THEN NULL ELSE t.document END AS document "
    "FROM device_credentials c LEFT JOIN device_targets t ON t.device_uuid = c.device_uuid "
    "WHERE c.device_uuid = $1::text::uuid AND c.prefix = $2 AND (c.ends_at IS NULL OR c.ends_at > $3)"
)


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll finds; `document` is None when the device has it already."""

    digest: bytes
    is_active: bool
    etag: str | None
    document: str | None


async def poll(db: Database, uuid: str, prefix: bytes, now: datetime, etags: list[str]) -> Polled | None:
    """Return who asks and what is new for him; None when no key that is good begins like this."""
    row = await db.fetchrow(POLL, uuid, prefix, now, etags)
    return Polled(*row) if row else None


_STANDING = (
    f"SELECT {_TARGET}, draft, drafted_at, drafted_by FROM device_targets "  # noqa: S608  constant
    "WHERE device_uuid = $1::text::uuid"
)
# The device before its target, as whoever removes it: the next version refers to the device.
_HELD = (
    "WITH device AS MATERIALIZED (SELECT uuid FROM fleet_devices WHERE uuid = $1::text::uuid FOR KEY SHARE) "  # noqa: S608  constant
    f"{_STANDING} AND device_uuid = (SELECT uuid FROM device) FOR UPDATE OF device_targets"
)


async def find(db: Database, uuid: str, *, for_update: bool = False) -> Standing | None:
    """Return a device's target."""
    row = await db.fetchrow(_HELD if for_update else _STANDING, uuid)
    if row is None:
        return None
    draft = None if row["draft"] is None else json.loads(row["draft"])
    return Standing(
        target=_target(row), draft=draft, drafted_at=row["drafted_at"], drafted_by=row["drafted_by"]
    )


async def is_device(db: Database, uuid: str) -> bool:
    """Whether there is such a device; in a transaction it stays until that ends."""
    found = await db.fetchval(
        "SELECT true FROM fleet_devices WHERE uuid = $1::text::uuid FOR KEY SHARE", uuid
    )
    return bool(found)


async def begin(db: Database, uuid: str, target: Target) -> None:
    """Keep a first target; one that stands stays."""
    await db.execute(
        "INSERT INTO device_targets (device_uuid, version, document, etag, deployed_at, deployed_by) "
        "VALUES ($1::text::uuid, $2, $3, $4, $5, $6) ON CONFLICT (device_uuid) DO NOTHING",
        *_row(uuid, target),
    )
    await add_history(db, uuid, target)


async def put_draft(
    db: Database, uuid: str, draft: dict[str, Any] | None, at: datetime | None, by: str | None
) -> None:
    """Keep what waits to be deployed, or nothing."""
    text = None if draft is None else json.dumps(draft)
    await db.execute(
        "UPDATE device_targets SET draft = $2, drafted_at = $3, drafted_by = $4 "
        "WHERE device_uuid = $1::text::uuid",
        uuid,
        text,
        at,
        by,
    )


async def put_in_force(db: Database, uuid: str, target: Target) -> None:
    """Let a target be in force, and nothing wait; it joins the history."""
    await db.execute(
        "UPDATE device_targets SET version = $2, document = $3, etag = $4, deployed_at = $5, deployed_by = $6, "
        "draft = NULL, drafted_at = NULL, drafted_by = NULL WHERE device_uuid = $1::text::uuid",
        *_row(uuid, target),
    )
    await add_history(db, uuid, target)


async def add_history(db: Database, uuid: str, target: Target) -> None:
    """Remember a target for good."""
    await db.execute(
        "INSERT INTO device_target_history (device_uuid, version, document, etag, deployed_at, deployed_by) "
        "VALUES ($1::text::uuid, $2, $3, $4, $5, $6) ON CONFLICT (device_uuid, version) DO NOTHING",
        *_row(uuid, target),
    )


async def history(db: Database, uuid: str, limit: int) -> list[Target]:
    """Return the targets that a device had, the newest first."""
    rows = await db.fetch(
        f"SELECT {_TARGET} FROM device_target_history WHERE device_uuid = $1::text::uuid "  # noqa: S608  constant
        "ORDER BY version DESC LIMIT $2",
        uuid,
        limit,
    )
    return [_target(row) for row in rows]


async def version_of(db: Database, uuid: str, version: int) -> Target | None:
    """Return one target that a device had."""
    row = await db.fetchrow(
        f"SELECT {_TARGET} FROM device_target_history WHERE device_uuid = $1::text::uuid AND version = $2",  # noqa: S608  constant
        uuid,
        version,
    )
    return _target(row) if row else None


async def merge_report(db: Database, uuid: str, fields: str, at: datetime) -> None:
    """Note the fields (a JSON object) that a device reported; those that it did not mention stay."""
    await db.execute(
        "INSERT INTO device_states (device_uuid, fields, reported_at) "
        "VALUES ($1::text::uuid, $2::text::jsonb, $3) ON CONFLICT (device_uuid) DO UPDATE "
        "SET fields = device_states.fields || EXCLUDED.fields, "
        "reported_at = greatest(device_states.reported_at, EXCLUDED.reported_at)",
        uuid,
        fields,
        at,
    )


async def report_of(db: Database, uuid: str) -> Report | None:
    """Return what a device said."""
    row = await db.fetchrow(
        "SELECT fields::text AS fields, reported_at FROM device_states WHERE device_uuid = $1::text::uuid",
        uuid,
    )
    return Report(fields=json.loads(row["fields"]), reported_at=row["reported_at"]) if row else None


def _row(uuid: str, target: Target) -> tuple[object, ...]:
    stamps = (target.deployed_at, target.deployed_by)
    return (uuid, target.version, target.document, target.etag, *stamps)


def _target(row: Any) -> Target:
    names = ("version", "document", "etag", "deployed_at", "deployed_by")
    return Target(**{name: row[name] for name in names})
