"""What people ask of alerts and silences, as rows. Every statement starts from whom the caller may see."""

from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.alerts.alert_rows import ALERT, alert_of
from iotistic.control.alerts.model import Alert, Database, Silence

_SILENCE = "id, rule_id, device_uuid, starts_at, until, comment, created_by, created_at"


async def add(
    db: Database,
    *,
    rule_id: UUID | None,
    device_uuid: UUID | None,
    starts_at: datetime,
    until: datetime,
    comment: str,
    by: str,
    now: datetime,
) -> Silence:
    """Keep a silence; what fires already and is meant falls silent if it begins now."""
    # The rules' work first, as whoever evaluates or changes one: that raises and ends many alerts, in its own order.
    await db.execute(
        "SELECT FROM alert_rule_work WHERE $1::uuid IS NULL OR rule_id = $1 ORDER BY rule_id FOR UPDATE",
        rule_id,
    )
    row = await db.fetchrow(
        "INSERT INTO alert_silences (rule_id, device_uuid, starts_at, until, comment, created_by, created_at) "  # noqa: S608  constant
        f"VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_SILENCE}",
        rule_id,
        device_uuid,
        starts_at,
        until,
        comment,
        by,
        now,
    )
    if starts_at <= now:
        await db.execute(
            "UPDATE alerts SET state = 'silenced' WHERE state = 'firing' "
            "AND ($1::uuid IS NULL OR rule_id = $1) AND ($2::uuid IS NULL OR device_uuid = $2)",
            rule_id,
            device_uuid,
        )
    return Silence(**dict(row))


async def list_open(db: Database, scope: list[UUID] | None, now: datetime) -> list[Silence]:
    """Return silences that are not over."""
    rows = await db.fetch(
        f"SELECT {_SILENCE} FROM alert_silences WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) "  # noqa: S608  constant
        "AND until > $2 ORDER BY until, id",
        scope,
        now,
    )
    return [Silence(**dict(row)) for row in rows]


async def end(db: Database, scope: list[UUID] | None, silence_id: UUID, now: datetime) -> Silence | None:
    """Let a silence be over now."""
    row = await db.fetchrow(
        "UPDATE alert_silences SET until = $3, starts_at = least(starts_at, $3 - interval '1 microsecond') "  # noqa: S608  constant
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND id = $2 AND until > $3 "
        f"RETURNING {_SILENCE}",
        scope,
        silence_id,
        now,
    )
    return Silence(**dict(row)) if row else None


async def list_alerts(
    db: Database,
    scope: list[UUID] | None,
    *,
    state: str | None,
    severity: str | None,
    rule_id: UUID | None,
    device_uuid: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Alert]:
    """Return alerts, the newest first."""
    at, last = before or (None, None)
    rows = await db.fetch(
        f"SELECT {ALERT} FROM alerts WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) "  # noqa: S608  constant
        "AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR severity = $3) "
        "AND ($4::uuid IS NULL OR rule_id = $4) AND ($5::uuid IS NULL OR device_uuid = $5) "
        "AND ($6::timestamptz IS NULL OR (created_at, id) < ($6, $7::uuid)) "
        "ORDER BY created_at DESC, id DESC LIMIT $8",
        scope,
        state,
        severity,
        rule_id,
        device_uuid,
        at,
        last,
        limit,
    )
    return [alert_of(row) for row in rows]


async def find_alert(db: Database, scope: list[UUID] | None, alert_id: UUID) -> Alert | None:
    """Return one alert."""
    row = await db.fetchrow(
        f"SELECT {ALERT} FROM alerts WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND id = $2",  # noqa: S608  constant
        scope,
        alert_id,
    )
    return alert_of(row) if row else None


async def acknowledge(
    db: Database, scope: list[UUID] | None, alert_id: UUID, now: datetime, by: str
) -> Alert | None:
    """Note that somebody looks after an alert that fires."""
    row = await db.fetchrow(
        "UPDATE alerts SET state = 'acknowledged', acknowledged_at = $3, acknowledged_by = $4 "  # noqa: S608  constant
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND id = $2 AND state IN ('firing', 'silenced') "
        f"RETURNING {ALERT}",
        scope,
        alert_id,
        now,
        by,
    )
    return alert_of(row) if row else None


async def resolve(
    db: Database, scope: list[UUID] | None, alert_id: UUID, now: datetime, reason: str
) -> Alert | None:
    """End an alert by a person's word."""
    row = await db.fetchrow(
        "UPDATE alerts SET state = 'resolved', resolved_at = $3, resolved_reason = $4 "  # noqa: S608  constant
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND id = $2 "
        f"AND state IN ('firing', 'acknowledged', 'silenced') RETURNING {ALERT}",
        scope,
        alert_id,
        now,
        reason,
    )
    return alert_of(row) if row else None


async def stats(db: Database, scope: list[UUID] | None, since: datetime) -> list[Any]:
    """Return counts by state and severity: of what is open, and of what was resolved since a time."""
    return await db.fetch(
        "SELECT state, severity, count(*) AS alerts FROM alerts "
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND (state <> 'resolved' OR created_at >= $2) "
        "GROUP BY 1, 2",
        scope,
        since,
    )
