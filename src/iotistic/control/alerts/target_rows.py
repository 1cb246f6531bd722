"""Rows of targets, and the queue of messages to them."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.alerts.conditions import Severity
from iotistic.control.alerts.model import Database, Delivery, Event, Target, TargetTaken

_TARGET = (
    "t.id, t.name, t.channel::text AS channel, t.least_severity, t.is_enabled, t.secret_generation, "
    "t.former_secret_until, t.failures, t.resting_until, t.created_at, t.created_by"
)
_DELIVERY = (
    "d.id, d.target_id, d.alert_id, d.event, d.payload, d.state, d.attempts, d.due_at, d.last_fault, "
    "d.created_at, d.ended_at"
)

# A target gets one message at a time, so that a slow one takes up one sender; and what is said of one alert in
# its order. (Two who ask in the same instant may both take one: that costs nothing but this.)
_CLAIM = f"""
WITH next AS (
    SELECT d.id FROM alert_deliveries d JOIN alert_targets t ON t.id = d.target_id
    WHERE d.state = 'waiting' AND d.due_at <= $1 AND t.is_enabled
      AND (t.resting_until IS NULL OR t.resting_until <= $1)
      AND NOT EXISTS (
          SELECT FROM alert_deliveries o
          WHERE o.target_id = d.target_id AND o.state = 'waiting' AND o.sending_until > $1)
      AND NOT EXISTS (
          SELECT FROM alert_deliveries o WHERE o.target_id = d.target_id AND o.alert_id = d.alert_id
          AND o.state = 'waiting' AND o.event = 'alert.firing' AND d.event = 'alert.resolved')
    ORDER BY d.due_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED
)
UPDATE alert_deliveries d SET attempts = attempts + 1, sending_until = $2 FROM next, alert_targets t
WHERE d.id = next.id AND t.id = d.target_id
RETURNING {_DELIVERY}, {_TARGET.replace("t.id,", "t.id AS t_id,").replace("t.created_at", "t.created_at AS t_created_at")}
"""  # noqa: S608  constant


async def add(
    db: Database, name: str, channel: Mapping[str, Any], least: Severity, now: datetime, by: str
) -> UUID:
    """Keep a new target. Raises TargetTaken."""
    try:
        return await db.fetchval(
            "INSERT INTO alert_targets (name, channel, least_severity, created_at, created_by) "
            "VALUES ($1, $2::text::jsonb, $3, $4, $5) RETURNING id",
            name,
            json.dumps(dict(channel)),
            least.value,
            now,
            by,
        )
    except asyncpg.UniqueViolationError as exc:
        raise TargetTaken(name=name) from exc


async def change(
    db: Database, target_id: UUID, name: str, channel: Mapping[str, Any], least: Severity, *, is_enabled: bool
) -> bool:
    """Keep a target as it is now, and trust it again; tell whether it exists. Raises TargetTaken."""
    try:
        done = await db.execute(
            "UPDATE alert_targets SET name = $2, channel = $3::text::jsonb, least_severity = $4, is_enabled = $5, "
            "failures = 0, resting_until = NULL WHERE id = $1",
            target_id,
            name,
            json.dumps(dict(channel)),
            least.value,
            is_enabled,
        )
    except asyncpg.UniqueViolationError as exc:
        raise TargetTaken(name=name) from exc
    return done == "UPDATE 1"


async def remove(db: Database, target_id: UUID) -> bool:
    """Remove a target with its messages; tell whether it was there."""
    await db.execute(
        "UPDATE alert_rules SET targets = array_remove(targets, $1) WHERE $1 = ANY(targets)", target_id
    )
    return await db.execute("DELETE FROM alert_targets WHERE id = $1", target_id) == "DELETE 1"


async def rotate(db: Database, target_id: UUID, former_until: datetime) -> Target | None:
    """Let a target have its next secret; the one before is good until a time."""
    row = await db.fetchrow(
        "UPDATE alert_targets t SET secret_generation = secret_generation + 1, former_secret_until = $2 "  # noqa: S608  constant
        f"WHERE id = $1 RETURNING {_TARGET}",
        target_id,
        former_until,
    )
    return _target(row) if row else None


async def list_all(db: Database) -> list[Target]:
    """Return every target by name."""
    rows = await db.fetch(f"SELECT {_TARGET} FROM alert_targets t ORDER BY lower(t.name)")  # noqa: S608  constant
    return [_target(row) for row in rows]


async def find(db: Database, target_id: UUID) -> Target | None:
    """Return one target."""
    row = await db.fetchrow(f"SELECT {_TARGET} FROM alert_targets t WHERE t.id = $1", target_id)  # noqa: S608  constant
    return _target(row) if row else None


async def unknown(db: Database, targets: list[UUID]) -> list[UUID]:
    """Return those that are no targets."""
    rows = await db.fetch("SELECT id FROM alert_targets WHERE id = ANY($1)", targets)
    return sorted(set(targets) - {row["id"] for row in rows})


async def take(
    db: Database, target_id: UUID, event: Event, payload: str, now: datetime, until: datetime
) -> UUID:
    """Put a message that is about no alert into the queue, as one that we are at: others may take it after `until`."""
    return await db.fetchval(
        "INSERT INTO alert_deliveries (target_id, event, payload, due_at, created_at, attempts, sending_until) "
        "VALUES ($1, $2, $3, $4, $4, 1, $5) RETURNING id",
        target_id,
        event.value,
        payload,
        now,
        until,
    )


async def claim(db: Database, now: datetime, lease: timedelta) -> tuple[Delivery, Target] | None:
    """Take the message that is due the longest; others may take it after `lease`, should we be dead by then."""
    row = await db.fetchrow(_CLAIM, now, now + lease)
    if row is None:
        return None
    target = dict(row) | {"id": row["t_id"], "created_at": row["t_created_at"]}
    return _delivery(row), _target(target)


async def waiting(db: Database) -> int:
    """Return how many messages wait to be delivered."""
    return await db.fetchval("SELECT count(*) FROM alert_deliveries WHERE state = 'waiting'")


async def delivered(db: Database, delivery: Delivery, now: datetime) -> None:
    """Note that a message was taken; its target is trusted again."""
    await db.execute(
        "UPDATE alert_deliveries SET state = 'delivered', ended_at = $2, last_fault = '', sending_until = NULL WHERE id = $1",
        delivery.id,
        now,
    )
    await db.execute(
        "UPDATE alert_targets SET failures = 0, resting_until = NULL WHERE id = $1 AND failures > 0",
        delivery.target_id,
    )


async def failed(
    db: Database, delivery: Delivery, fault: str, *, again_at: datetime | None, now: datetime
) -> None:
    """Note a failure: it is tried again at a time, or given up."""
    await db.execute(
        "UPDATE alert_deliveries SET last_fault = $2, due_at = coalesce($3, due_at), sending_until = NULL, "
        "state = CASE WHEN $3::timestamptz IS NULL THEN 'dead' ELSE 'waiting' END, "
        "ended_at = CASE WHEN $3::timestamptz IS NULL THEN $4::timestamptz END "
        "WHERE id = $1 AND state = 'waiting'",
        delivery.id,
        fault[:500].replace("\0", ""),
        again_at,
        now,
    )


async def rest(db: Database, target_id: UUID, from_failures: int, until: datetime) -> bool:
    """Count a failure of a target; after so many in a row it is left alone; tell whether it is."""
    row = await db.fetchrow(
        "UPDATE alert_targets SET failures = failures + 1, "
        "resting_until = CASE WHEN failures + 1 >= $2 THEN $3::timestamptz ELSE resting_until END "
        "WHERE id = $1 RETURNING failures >= $2 AS rests",
        target_id,
        from_failures,
        until,
    )
    return bool(row and row["rests"])


async def list_deliveries(
    db: Database,
    *,
    state: str | None,
    target_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Delivery]:
    """Return messages, the newest first."""
    at, last = before or (None, None)
    rows = await db.fetch(
        f"SELECT {_DELIVERY} FROM alert_deliveries d "  # noqa: S608  constant
        "WHERE ($1::text IS NULL OR d.state = $1) AND ($2::uuid IS NULL OR d.target_id = $2) "
        "AND ($3::timestamptz IS NULL OR (d.created_at, d.id) < ($3, $4::uuid)) "
        "ORDER BY d.created_at DESC, d.id DESC LIMIT $5",
        state,
        target_id,
        at,
        last,
        limit,
    )
    return [_delivery(row) for row in rows]


async def find_delivery(db: Database, delivery_id: UUID) -> Delivery | None:
    """Return one message."""
    row = await db.fetchrow(f"SELECT {_DELIVERY} FROM alert_deliveries d WHERE d.id = $1", delivery_id)  # noqa: S608  constant
    return _delivery(row) if row else None


async def replay(db: Database, delivery_id: UUID, now: datetime) -> Delivery | None:
    """Let a message that is over be tried anew; None when it is still being tried."""
    row = await db.fetchrow(
        "UPDATE alert_deliveries d SET state = 'waiting', ended_at = NULL, attempts = 0, due_at = $2, "  # noqa: S608  constant
        "sending_until = NULL "
        f"WHERE d.id = $1 AND d.state <> 'waiting' RETURNING {_DELIVERY}",
        delivery_id,
        now,
    )
    return _delivery(row) if row else None


def _target(row: Any) -> Target:
    names = Target.__dataclass_fields__
    values = {name: row[name] for name in names}
    values["channel"] = json.loads(values["channel"])
    values["least_severity"] = Severity(values["least_severity"])
    return Target(**values)


def _delivery(row: Any) -> Delivery:
    values = {name: row[name] for name in Delivery.__dataclass_fields__}
    values["event"] = Event(values["event"])
    return Delivery(**values)
