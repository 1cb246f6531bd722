"""Rows of alerts, and the messages that they cause.

What happens to an alert is written so that the same again changes nothing: whoever was killed after the
commit and does it once more raises no second alert and sends no second message.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.alerts.conditions import Severity
from iotistic.control.alerts.evaluate import Change, Transition
from iotistic.control.alerts.model import (
    Alert,
    AlertState,
    Database,
    Event,
    Rule,
    Subject,
    fingerprint,
    from_us,
)

ALERT = (
    "id, rule_id, rule_name, severity, fingerprint, subject, device_uuid, device_name, metric, state, value, "
    "since, fired_at, resolved_at, resolved_reason, acknowledged_at, acknowledged_by, is_late, created_at"
)
_COLUMNS = (
    "rule_id, rule_name, severity, fingerprint, subject, device_uuid, device_name, metric, state, value, since, "
    "fired_at, resolved_at, resolved_reason, is_late, created_at"
)
_ADD = (
    f"INSERT INTO alerts ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) "  # noqa: S608  constant
    f"ON CONFLICT (fingerprint) WHERE state <> 'resolved' DO NOTHING RETURNING {ALERT}"
)


async def counted(db: Database) -> Sequence[Mapping[str, Any]]:
    """Return how many `alerts` are not resolved, by `state` and `severity`."""
    return await db.fetch(
        "SELECT state, severity, count(*) AS alerts FROM alerts WHERE state <> 'resolved' GROUP BY state, severity"
    )


async def apply(
    db: Database, rule: Rule, subject: Subject, transitions: Sequence[Transition], now: datetime
) -> None:
    """Write what changed of one subject, in order, and what is to be told of it."""
    for one in transitions:
        match one.change:
            case Change.PENDING:
                await _add(db, rule, subject, one, now, AlertState.PENDING)
            case Change.FIRING:
                await fire(db, rule, subject, one, now)
            case Change.RESOLVED:
                await resolve(db, rule.id, subject.key, one)
            case Change.CANCELLED:
                await db.execute(
                    "DELETE FROM alerts WHERE fingerprint = $1 AND state = 'pending'",
                    fingerprint(rule.id, subject.key),
                )


async def fire(
    db: Database,
    rule: Rule,
    subject: Subject,
    transition: Transition,
    now: datetime,
    *,
    is_late: bool = False,
) -> None:
    """Raise an alert, unless one is open."""
    silenced = await is_silenced(db, rule.id, subject.device_uuid, now)
    state = AlertState.SILENCED if silenced else AlertState.FIRING
    row = await db.fetchrow(
        "UPDATE alerts SET state = $2, fired_at = $3, value = $4, is_late = $5 "  # noqa: S608  constant
        f"WHERE fingerprint = $1 AND state = 'pending' RETURNING {ALERT}",
        fingerprint(rule.id, subject.key),
        state.value,
        from_us(transition.at_us),
        transition.value,
        is_late,
    )
    alert = alert_of(row) if row else await _add(db, rule, subject, transition, now, state, is_late=is_late)
    if alert is not None and not silenced:
        await tell(db, alert, Event.FIRING, now)


async def add_past(
    db: Database, rule: Rule, subject: Subject, fired: Transition, ended: Transition, now: datetime
) -> None:
    """Keep an alert that is over already: it was found in late readings. It is told as one that fires and ends."""
    row = await db.fetchrow(
        f"INSERT INTO alerts ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) "  # noqa: S608  constant
        f"RETURNING {ALERT}",
        *_values(rule, subject, fired, now, AlertState.RESOLVED, is_late=True, ended=ended),
    )
    if not await is_silenced(db, rule.id, subject.device_uuid, now):
        for event in (Event.FIRING, Event.RESOLVED):
            await tell(db, alert_of(row), event, now)


async def resolve(db: Database, rule_id: UUID, subject: str, transition: Transition) -> None:
    """End the alert that is open, and tell those who were told of it."""
    row = await db.fetchrow(
        "UPDATE alerts SET state = 'resolved', resolved_at = $2, resolved_reason = 'condition ended' "  # noqa: S608  constant
        f"WHERE fingerprint = $1 AND state IN ('firing', 'acknowledged', 'silenced') RETURNING {ALERT}",
        fingerprint(rule_id, subject),
        from_us(transition.at_us),
    )
    if row:
        await tell_the_end(db, alert_of(row))


async def end(db: Database, rule_id: UUID, now: datetime, reason: str, *, subject: str | None = None) -> None:
    """End the alerts of a rule (of one subject) that are open, for a reason that lies in no reading."""
    mark = None if subject is None else fingerprint(rule_id, subject)
    await db.execute(
        "DELETE FROM alerts WHERE rule_id = $1 AND state = 'pending' AND ($2::text IS NULL OR fingerprint = $2)",
        rule_id,
        mark,
    )
    rows = await db.fetch(
        "UPDATE alerts SET state = 'resolved', resolved_at = $3, resolved_reason = $4 WHERE rule_id = $1 "  # noqa: S608  constant
        f"AND state <> 'resolved' AND ($2::text IS NULL OR fingerprint = $2) RETURNING {ALERT}",
        rule_id,
        mark,
        now,
        reason,
    )
    for row in rows:
        await tell_the_end(db, alert_of(row), now)


async def _add(
    db: Database,
    rule: Rule,
    subject: Subject,
    transition: Transition,
    now: datetime,
    state: AlertState,
    *,
    is_late: bool = False,
) -> Alert | None:
    row = await db.fetchrow(_ADD, *_values(rule, subject, transition, now, state, is_late=is_late))
    return alert_of(row) if row else None


def _values(
    rule: Rule,
    subject: Subject,
    transition: Transition,
    now: datetime,
    state: AlertState,
    *,
    is_late: bool,
    ended: Transition | None = None,
) -> tuple[object, ...]:
    fired_at = None if state is AlertState.PENDING else from_us(transition.at_us)
    mark = fingerprint(rule.id, subject.key)
    return (
        *(rule.id, rule.name, rule.severity.value, mark, subject.key, subject.device_uuid),
        *(subject.device_name, subject.metric, state.value, transition.value, from_us(transition.since_us)),
        fired_at,
        from_us(ended.at_us) if ended else None,
        "condition ended" if ended else None,
        is_late,
        now,
    )


async def is_silenced(db: Database, rule_id: UUID | None, device_uuid: UUID | None, now: datetime) -> bool:
    """Say whether somebody has silenced what this rule raises of this device."""
    return await db.fetchval(
        "SELECT EXISTS (SELECT FROM alert_silences WHERE starts_at <= $3 AND until > $3 "
        "AND (rule_id IS NULL OR rule_id = $1) AND (device_uuid IS NULL OR device_uuid = $2))",
        rule_id,
        device_uuid,
        now,
    )


async def wake(db: Database, now: datetime) -> int:
    """Let alerts whose silence is over fire, and be told; return how many."""
    rows = await db.fetch(
        "WITH awake AS (SELECT a.id FROM alerts a WHERE a.state = 'silenced' AND NOT EXISTS ("  # noqa: S608  constant
        "SELECT FROM alert_silences s WHERE s.starts_at <= $1 AND s.until > $1 "
        "AND (s.rule_id IS NULL OR s.rule_id = a.rule_id) "
        "AND (s.device_uuid IS NULL OR s.device_uuid = a.device_uuid)) LIMIT 500 FOR UPDATE SKIP LOCKED) "
        f"UPDATE alerts SET state = 'firing' WHERE id IN (SELECT id FROM awake) RETURNING {ALERT}",
        now,
    )
    for row in rows:
        await tell(db, alert_of(row), Event.FIRING, now)
    return len(rows)


async def tell(db: Database, alert: Alert, event: Event, now: datetime) -> None:
    """Put a message for every target of the rule into the queue; one of a kind for each alert and target."""
    if alert.rule_id is None:
        return
    reached = [one.value for one in Severity if alert.severity.reaches(one)]
    await db.execute(
        "INSERT INTO alert_deliveries (target_id, alert_id, event, payload, due_at, created_at) "
        "SELECT t.id, $2, $3, $4, $5, $5 FROM alert_rules r JOIN alert_targets t ON t.id = ANY(r.targets) "
        "WHERE r.id = $1 AND t.is_enabled AND t.least_severity = ANY($6) "
        "ON CONFLICT (target_id, alert_id, event) WHERE alert_id IS NOT NULL DO NOTHING",
        alert.rule_id,
        alert.id,
        event.value,
        json.dumps({"event": event.value, "alert": told(alert)}, allow_nan=False),
        now,
        reached,
    )


async def tell_the_end(db: Database, alert: Alert, now: datetime | None = None) -> None:
    """Tell those who were told that an alert fires that it is over."""
    payload = json.dumps({"event": Event.RESOLVED.value, "alert": told(alert)}, allow_nan=False)
    await db.execute(
        "INSERT INTO alert_deliveries (target_id, alert_id, event, payload, due_at, created_at) "
        "SELECT d.target_id, d.alert_id, 'alert.resolved', $2, d.created_at, coalesce($3, now()) "
        "FROM alert_deliveries d WHERE d.alert_id = $1 AND d.event = 'alert.firing' "
        "ON CONFLICT (target_id, alert_id, event) WHERE alert_id IS NOT NULL DO NOTHING",
        alert.id,
        payload,
        now,
    )


def told(alert: Alert) -> dict[str, Any]:
    """Return an alert as messages tell of it."""
    value = alert.value
    is_number = value is not None and value == value and abs(value) != float("inf")  # noqa: PLR0124  NaN
    return {
        "id": str(alert.id),
        "rule": {"id": None if alert.rule_id is None else str(alert.rule_id), "name": alert.rule_name},
        "severity": alert.severity.value,
        "state": alert.state.value,
        "fingerprint": alert.fingerprint,
        "device": {"uuid": alert.device_uuid and str(alert.device_uuid), "name": alert.device_name},
        "metric": alert.metric,
        "value": value if is_number else None,
        "since": _iso(alert.since),
        "firedAt": _iso(alert.fired_at),
        "resolvedAt": _iso(alert.resolved_at),
        "isLate": alert.is_late,
    }


def alert_of(row: Any) -> Alert:
    """Return the alert of a row."""
    values = dict(row)
    values["severity"], values["state"] = Severity(values["severity"]), AlertState(values["state"])
    return Alert(**values)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
