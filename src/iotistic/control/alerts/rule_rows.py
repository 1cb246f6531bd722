"""Rows of rules, of how far they are evaluated, and of what they know of their subjects."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.alerts.conditions import Definition, RuleSpec, Severity
from iotistic.control.alerts.evaluate import SeriesState
from iotistic.control.alerts.model import Database, Rule, RuleTaken, Work

_RULE = (
    "r.id, r.name, r.severity, r.definition::text AS definition, r.targets, r.is_enabled, r.version, "
    "r.created_at, r.created_by, r.updated_at"
)
_WORK = "w.started_at, w.evaluated_until, w.log_cursor, w.fault"
_ROOM = "alert_rules r LEFT JOIN alert_rule_work w ON w.rule_id = r.id"


async def list_all(db: Database) -> list[Rule]:
    """Return every rule by name."""
    rows = await db.fetch(f"SELECT {_RULE}, w.evaluated_until, w.fault FROM {_ROOM} ORDER BY lower(r.name)")  # noqa: S608  constant
    return [_rule(row) for row in rows]


async def find(db: Database, rule_id: UUID) -> Rule | None:
    """Return one rule."""
    row = await db.fetchrow(
        f"SELECT {_RULE}, w.evaluated_until, w.fault FROM {_ROOM} WHERE r.id = $1",  # noqa: S608  constant
        rule_id,
    )
    return _rule(row) if row else None


async def lock(db: Database, rule_id: UUID) -> bool:
    """Make others who change a rule, or evaluate it, wait for our transaction; tell whether it exists."""
    # The work first, as its evaluation does, which then refers to the rule.
    await db.fetchval("SELECT 1 FROM alert_rule_work WHERE rule_id = $1 FOR UPDATE", rule_id)
    return await db.fetchval("SELECT 1 FROM alert_rules WHERE id = $1 FOR UPDATE", rule_id) is not None


async def add(db: Database, spec: RuleSpec, now: datetime, by: str) -> UUID:
    """Keep a new rule. Raises RuleTaken."""
    try:
        return await db.fetchval(
            "INSERT INTO alert_rules (name, stream, severity, definition, targets, is_enabled, created_at, "
            "created_by, updated_at) VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $7) RETURNING id",
            *_values(spec),
            now,
            by,
        )
    except asyncpg.UniqueViolationError as exc:
        raise RuleTaken(name=spec.name) from exc


async def replace(db: Database, rule_id: UUID, spec: RuleSpec, now: datetime, *, anew: bool) -> None:
    """Keep a rule as it is now; `anew` when what is judged has changed. Raises RuleTaken."""
    try:
        await db.execute(
            "UPDATE alert_rules SET name = $2, stream = $3, severity = $4, definition = $5::text::jsonb, "
            "targets = $6, is_enabled = $7, updated_at = $8, version = version + $9 WHERE id = $1",
            rule_id,
            *_values(spec),
            now,
            int(anew),
        )
    except asyncpg.UniqueViolationError as exc:
        raise RuleTaken(name=spec.name) from exc


async def remove(db: Database, rule_id: UUID) -> None:
    """Remove a rule with all that it knows; its alerts stay."""
    await db.execute("DELETE FROM alert_rules WHERE id = $1", rule_id)


async def start(db: Database, rule_id: UUID, now: datetime) -> None:
    """Let a rule judge from now on; what it knew is forgotten."""
    await stop(db, rule_id)
    await db.execute(
        "INSERT INTO alert_rule_work (rule_id, started_at, evaluated_until) VALUES ($1, $2, $2)", rule_id, now
    )


async def stop(db: Database, rule_id: UUID) -> None:
    """Let a rule judge no more."""
    for table in ("alert_rule_work", "alert_rule_minutes", "alert_states", "alert_late"):
        await db.execute(f"DELETE FROM {table} WHERE rule_id = $1", rule_id)  # noqa: S608  constant


async def claim(db: Database, now: datetime, every: timedelta) -> Work | None:
    """Take the rule that was looked at the longest ago, for our transaction; None when all are up to date."""
    row = await db.fetchrow(
        f"SELECT {_RULE}, {_WORK} FROM alert_rule_work w JOIN alert_rules r ON r.id = w.rule_id "  # noqa: S608  constant
        "WHERE w.looked_at <= $1 ORDER BY w.looked_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED",
        now - every,
    )
    if row is None:
        return None
    return Work(
        rule=_rule(row),
        started_at=row["started_at"],
        evaluated_until=row["evaluated_until"],
        log_cursor=row["log_cursor"],
    )


async def looked(
    db: Database, rule_id: UUID, now: datetime, *, until: datetime, log_cursor: str | None = None
) -> None:
    """Note how far a rule is evaluated."""
    await db.execute(
        "UPDATE alert_rule_work SET looked_at = $2, evaluated_until = greatest(evaluated_until, $3), "
        "log_cursor = coalesce($4, log_cursor), fault = '' WHERE rule_id = $1",
        rule_id,
        now,
        until,
        log_cursor,
    )


async def behind(db: Database, now: datetime) -> Sequence[Mapping[str, Any]]:
    """Return how old the first instant is that some rule has not judged, `behind_s`, by `stream`."""
    return await db.fetch(
        "SELECT r.stream, greatest(extract(epoch FROM $1 - min(w.evaluated_until)), 0)::double precision AS behind_s "
        "FROM alert_rule_work w JOIN alert_rules r ON r.id = w.rule_id GROUP BY r.stream",
        now,
    )


async def failed(db: Database, rule_id: UUID, now: datetime, fault: str) -> None:
    """Note that a rule could not be evaluated: others come first."""
    await db.execute(
        "UPDATE alert_rule_work SET looked_at = $2, fault = $3 WHERE rule_id = $1", rule_id, now, fault[:500]
    )


async def states(db: Database, rule_id: UUID, subjects: Sequence[str]) -> dict[str, SeriesState]:
    """Return what a rule knows of subjects, where that is of note."""
    rows = await db.fetch(
        "SELECT subject, state FROM alert_states WHERE rule_id = $1 AND subject = ANY($2)",
        rule_id,
        list(subjects),
    )
    return {row["subject"]: SeriesState.read(row["state"]) for row in rows}


async def subjects_of_note(db: Database, rule_id: UUID) -> list[str]:
    """Return the subjects that a rule knows something of."""
    rows = await db.fetch("SELECT subject FROM alert_states WHERE rule_id = $1", rule_id)
    return [row["subject"] for row in rows]


async def keep_states(db: Database, rule_id: UUID, changed: Mapping[str, SeriesState]) -> None:
    """Keep what is of note, forget what is not any more."""
    kept = {subject: state.write() for subject, state in changed.items() if state.is_of_note}
    if kept:
        await db.execute(
            "INSERT INTO alert_states (rule_id, subject, state) "
            "SELECT $1, s.subject, s.state FROM unnest($2::text[], $3::bytea[]) AS s (subject, state) "
            "ON CONFLICT (rule_id, subject) DO UPDATE SET state = EXCLUDED.state",
            rule_id,
            list(kept),
            list(kept.values()),
        )
    if idle := [subject for subject in changed if subject not in kept]:
        await db.execute("DELETE FROM alert_states WHERE rule_id = $1 AND subject = ANY($2)", rule_id, idle)


def _values(spec: RuleSpec) -> tuple[object, ...]:
    definition = spec.definition
    return (
        spec.name,
        definition.stream.value,
        spec.severity.value,
        definition.write(),
        list(spec.targets),
        spec.is_enabled,
    )


def _rule(row: Any) -> Rule:
    return Rule(
        id=row["id"],
        name=row["name"],
        severity=Severity(row["severity"]),
        definition=Definition.read(row["definition"]),
        targets=tuple(row["targets"]),
        is_enabled=row["is_enabled"],
        version=row["version"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        updated_at=row["updated_at"],
        evaluated_until=row["evaluated_until"],
        fault=row.get("fault") or "",
    )
