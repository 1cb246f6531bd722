"""Updates of agents in the database."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.agentupdates.model import AgentUpdate, UpdateStatus
from iotistic.control.devices.repository import Database

_COLUMNS = ", ".join(one.name for one in fields(AgentUpdate))
_OPEN = "status IN ('pending', 'acknowledged', 'scheduled', 'in_progress')"


async def supersede(db: Database, device: UUID, now: datetime) -> None:
    """End the order that is open; one that the device has begun stays, and the insert meets it."""
    await db.execute(
        f"UPDATE agent_updates SET status = 'superseded', ended_at = $2, tell_at = NULL "  # noqa: S608  constants
        f"WHERE device_uuid = $1 AND {_OPEN} AND status <> 'in_progress'",
        device,
        now,
    )


async def add(db: Database, update: AgentUpdate) -> bool:
    """Note an order, to be told at once; False when one is open still."""
    done = await db.execute(
        "INSERT INTO agent_updates (id, device_uuid, version, from_version, is_forced, not_before, ordered_by, "
        "ordered_at, deadline_at, tell_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8) ON CONFLICT DO NOTHING",
        update.id,
        update.device_uuid,
        update.version,
        update.from_version,
        update.is_forced,
        update.not_before,
        update.ordered_by,
        update.ordered_at,
        update.deadline_at,
    )
    return done == "INSERT 0 1"


async def of_device(db: Database, device: UUID, limit: int) -> list[AgentUpdate]:
    """Return the orders of a device, the newest first."""
    found = await db.fetch(
        f"SELECT {_COLUMNS} FROM agent_updates WHERE device_uuid = $1 "  # noqa: S608  constants
        "ORDER BY ordered_at DESC, id LIMIT $2",
        device,
        limit,
    )
    return [_update(row) for row in found]


async def opened(db: Database, device: UUID) -> AgentUpdate | None:
    """Return the order that is open, held for update."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM agent_updates WHERE device_uuid = $1 AND {_OPEN} FOR UPDATE",  # noqa: S608
        device,
    )
    return None if row is None else _update(row)


async def named(db: Database, device: UUID, update_id: str) -> AgentUpdate | None:
    """Return the order that a device speaks of, held for update; without an id the newest one."""
    try:
        wanted = UUID(update_id) if update_id else None
    except ValueError:
        return None
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM agent_updates WHERE device_uuid = $1 AND ($2::uuid IS NULL OR id = $2) "  # noqa: S608
        "ORDER BY ordered_at DESC, id LIMIT 1 FOR UPDATE",
        device,
        wanted,
    )
    return None if row is None else _update(row)


async def save(db: Database, update: AgentUpdate, now: datetime) -> None:
    """Note how an order stands. Once the device has heard of it, the broker is to hold none: nor an older one."""
    await db.execute(
        "UPDATE agent_updates SET status = $2, found_version = $3, from_version = $4, code = $5, message = $6, "
        "heard_at = $7, ended_at = $8, deadline_at = $9, tell_at = CASE WHEN is_held OR status = 'pending' THEN $10::timestamptz END "
        "WHERE id = $1",
        update.id,
        update.status.value,
        update.found_version,
        update.from_version,
        update.code,
        update.message,
        update.heard_at,
        update.ended_at,
        update.deadline_at,
        now,
    )


async def claim_untold(db: Database, now: datetime, again_at: datetime, limit: int) -> list[AgentUpdate]:
    """Return orders that the broker is to hold, or to hold no longer; another process gets them `again_at`."""
    found = await db.fetch(
        "UPDATE agent_updates SET tell_at = $2 WHERE id IN (SELECT id FROM agent_updates WHERE tell_at <= $1 "  # noqa: S608
        f"ORDER BY tell_at LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING {_COLUMNS}",
        now,
        again_at,
        limit,
    )
    return [_update(row) for row in found]


async def told(db: Database, update: AgentUpdate, *, is_held: bool) -> None:
    """Note what the broker holds now, unless the order changed meanwhile: then it is told once more."""
    await db.execute(
        "UPDATE agent_updates SET is_held = $3, tell_at = CASE WHEN status = $2 THEN NULL ELSE tell_at END "
        "WHERE id = $1",
        update.id,
        update.status.value,
        is_held,
    )


async def has_newer(db: Database, update: AgentUpdate) -> bool:
    """Whether the device's topic belongs to a newer order."""
    return bool(
        await db.fetchval(
            "SELECT EXISTS (SELECT FROM agent_updates WHERE device_uuid = $1 AND (ordered_at, id) > ($2, $3))",
            update.device_uuid,
            update.ordered_at,
            update.id,
        )
    )


async def settle_seen(db: Database, now: datetime) -> Sequence[Any]:
    """End orders whose version the device reports: what it said of its update may have been lost.

    Those that somebody is at are left for the next time, here and below: nobody waits for many rows in a circle.
    """
    return await db.fetch(
        "WITH seen AS (SELECT updates.id, states.fields->>'agent_version' AS agent_version "  # noqa: S608
        "FROM agent_updates updates JOIN device_states states ON states.device_uuid = updates.device_uuid "
        f"WHERE updates.{_OPEN} AND NOT is_forced "
        "AND states.reported_at > ordered_at AND states.fields->>'agent_version' <> from_version "
        "AND states.fields->>'agent_version' = "
        "CASE updates.version WHEN 'latest' THEN NULLIF(found_version, '') ELSE updates.version END "
        "FOR NO KEY UPDATE OF updates SKIP LOCKED) "
        "UPDATE agent_updates updates SET status = 'succeeded', found_version = seen.agent_version, "
        "ended_at = $1, tell_at = $1 FROM seen WHERE updates.id = seen.id "
        "RETURNING updates.id, updates.device_uuid",
        now,
    )


async def give_up(db: Database, now: datetime, late_code: str, unheard_code: str) -> Sequence[Any]:
    """End orders that are over their deadline."""
    return await db.fetch(
        "UPDATE agent_updates SET status = 'failed', ended_at = $1, "  # noqa: S608  constants
        "code = CASE status WHEN 'pending' THEN $3 ELSE $2 END, tell_at = $1 "
        f"WHERE id IN (SELECT id FROM agent_updates WHERE {_OPEN} AND deadline_at < $1 "
        "FOR NO KEY UPDATE SKIP LOCKED) RETURNING id, device_uuid, code",
        now,
        late_code,
        unheard_code,
    )


def _update(row: Any) -> AgentUpdate:
    values: dict[str, Any] = dict(row)
    values["status"] = UpdateStatus(values["status"])
    return AgentUpdate(**values)
