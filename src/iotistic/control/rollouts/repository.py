"""Rows of rollouts. Every function takes the connection: the caller decides on transactions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.rollouts.durations import Sample
from iotistic.control.rollouts.model import ACTIVE, Counts, Part, PartState, RolloutState
from iotistic.control.rollouts.policy import Policy

_LIVE = "('running', 'paused', 'halted', 'cancelling', 'rolling_back')"
_ROLLOUT = (
    "id, name, state, change, selection, policy, created_at, created_by, expires_at, wave, forgiven, "
    "halt_code, halt_reason, halt_facts, ended_at"
)
PART = (
    "p.device_uuid, p.wave, p.state, p.deadline, p.reason, p.code, p.from_version, p.to_version, p.back_version, "
    "p.started_at, p.settled_at, p.ended_at, p.report_at, p.baseline, p.predicted, p.actual"
)
_KEPT_TIMES = 101


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One rollout."""

    id: UUID
    name: str
    state: RolloutState
    change: Mapping[str, Any]
    selection: Mapping[str, Any]
    policy: Policy
    created_at: datetime
    created_by: str
    expires_at: datetime
    wave: int = 0
    forgiven: int = 0
    halt_code: str = ""
    halt_reason: str = ""
    halt_facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutEvent:
    """Something that happened to a rollout; `id` 0 before it is kept."""

    rollout_id: UUID
    at: datetime
    kind: str
    device_uuid: UUID | None = None
    code: str = ""
    reason: str = ""
    by: str = "rollout"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: int = 0


async def add(db: Database, rollout: Rollout) -> None:
    """Keep a new rollout, to be looked at now."""
    await db.execute(
        "INSERT INTO rollouts (id, name, state, change, selection, policy, created_at, created_by, expires_at, "
        "look_at) VALUES ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6::text::jsonb, $7, $8, $9, $7)",
        rollout.id,
        rollout.name,
        rollout.state,
        json.dumps(rollout.change),
        json.dumps(rollout.selection),
        json.dumps(rollout.policy.write()),
        rollout.created_at,
        rollout.created_by,
        rollout.expires_at,
    )


async def add_parts(db: Database, rollout_id: UUID, parts: Sequence[Part]) -> None:
    """Keep the parts of a new rollout, in their order."""
    await db.execute(
        "INSERT INTO rollout_parts (rollout_id, device_uuid, wave, place, state, deadline, code, reason, "
        "from_version, ended_at, baseline, predicted) "
        "SELECT $1, n.device_uuid, n.wave, n.place, n.state, n.deadline, n.code, n.reason, n.from_version, "
        "n.ended_at, n.baseline::jsonb, n.predicted::jsonb FROM unnest($2::uuid[], $3::int[], $4::int[], "
        "$5::text[], $6::timestamptz[], $7::text[], $8::text[], $9::bigint[], $10::timestamptz[], $11::text[], "
        "$12::text[]) AS n (device_uuid, wave, place, state, deadline, code, reason, from_version, ended_at, "
        # In the order of devices, which a removal locks in the same.
        "baseline, predicted) ORDER BY n.device_uuid",
        rollout_id,
        [one.device_uuid for one in parts],
        [one.wave for one in parts],
        list(range(len(parts))),
        [str(one.state) for one in parts],
        [one.deadline if one.state in ACTIVE else None for one in parts],
        [one.code for one in parts],
        [one.reason for one in parts],
        [one.from_version for one in parts],
        [one.ended_at for one in parts],
        [json.dumps(dict(one.baseline)) for one in parts],
        [json.dumps(dict(one.predicted)) for one in parts],
    )


async def supersede(
    db: Database, devices: Sequence[UUID], by: UUID, now: datetime
) -> list[tuple[UUID, UUID]]:
    """End the parts that devices have in older rollouts; return which, by rollout and device.

    In the order of devices, so that two rollouts that are made at once do not wait for each other.
    """
    rows = await db.fetch(
        "WITH mine AS (SELECT rollout_id, device_uuid FROM rollout_parts WHERE device_uuid = ANY($1::uuid[]) "
        "AND state = ANY($2::text[]) ORDER BY device_uuid FOR UPDATE) "
        "UPDATE rollout_parts p SET state = 'superseded', deadline = NULL, ended_at = $3, "
        "code = 'rollout.superseded', reason = 'the newer rollout ' || $4 || ' took it over' "
        "FROM mine WHERE p.rollout_id = mine.rollout_id AND p.device_uuid = mine.device_uuid "
        "RETURNING p.rollout_id, p.device_uuid",
        sorted(devices),
        [str(state) for state in ACTIVE],
        now,
        str(by),
    )
    found = [(row["rollout_id"], row["device_uuid"]) for row in rows]
    await wake(db, {rollout for rollout, _ in found}, now)
    return found


async def wake(db: Database, rollouts: Iterable[UUID], now: datetime) -> None:
    """Have rollouts looked at now."""
    await db.execute("UPDATE rollouts SET look_at = $2 WHERE id = ANY($1::uuid[])", sorted(rollouts), now)


async def claim(db: Database, now: datetime) -> Rollout | None:
    """Return a rollout that is due; nobody else works on it until the transaction ends."""
    row = await db.fetchrow(
        f"SELECT {_ROLLOUT} FROM rollouts WHERE look_at <= $1 AND state IN {_LIVE} "  # noqa: S608  constant
        "ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        now,
    )
    return rollout_of(row) if row else None


async def find(db: Database, rollout_id: UUID, *, for_update: bool = False) -> Rollout | None:
    """Return a rollout."""
    row = await db.fetchrow(
        f"SELECT {_ROLLOUT} FROM rollouts WHERE id = $1" + (" FOR UPDATE" if for_update else ""),  # noqa: S608  constant
        rollout_id,
    )
    return rollout_of(row) if row else None


async def newest(
    db: Database, *, states: Sequence[str] | None, before: tuple[datetime, UUID] | None, limit: int
) -> list[Rollout]:
    """Return rollouts, the newest first."""
    at, rollout_id = before or (None, None)
    rows = await db.fetch(
        f"SELECT {_ROLLOUT} FROM rollouts WHERE ($1::text[] IS NULL OR state = ANY($1)) "  # noqa: S608  constant
        "AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid)) "
        "ORDER BY created_at DESC, id DESC LIMIT $4",
        states,
        at,
        rollout_id,
        limit,
    )
    return [rollout_of(row) for row in rows]


async def counts(db: Database, rollouts: Sequence[UUID]) -> dict[UUID, Counts]:
    """Return how many parts of each rollout are in which state."""
    rows = await db.fetch(
        "SELECT rollout_id, wave, state, count(*) AS count FROM rollout_parts "
        "WHERE rollout_id = ANY($1::uuid[]) GROUP BY rollout_id, wave, state",
        list(rollouts),
    )
    found: dict[UUID, dict[tuple[int, PartState], int]] = {one: {} for one in rollouts}
    for row in rows:
        found[row["rollout_id"]][row["wave"], PartState(row["state"])] = row["count"]
    return {one: Counts(states) for one, states in found.items()}


async def pace(
    db: Database, rollout_id: UUID, wave: int, now: datetime
) -> tuple[int, datetime | None, datetime | None]:
    """Return how many began within a minute, when the last part of the waves so far ended, the next deadline."""
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE started_at > $3) AS lately, "
        "max(ended_at) FILTER (WHERE wave <= $2) AS ended_at, "
        "min(deadline) FILTER (WHERE state <> 'waiting') AS deadline "
        "FROM rollout_parts WHERE rollout_id = $1",
        rollout_id,
        wave,
        now - timedelta(minutes=1),
    )
    return row["lately"], row["ended_at"], row["deadline"]


async def parts(
    db: Database, rollout_id: UUID, *, states: Sequence[str] | None, after: UUID | None, limit: int
) -> list[tuple[Part, str]]:
    """Return parts with the names of their devices, in the order of uuids."""
    rows = await db.fetch(
        f"SELECT {PART}, d.name FROM rollout_parts p JOIN fleet_devices d ON d.uuid = p.device_uuid "  # noqa: S608  constant
        "WHERE p.rollout_id = $1 AND ($2::text[] IS NULL OR p.state = ANY($2)) "
        "AND ($3::uuid IS NULL OR p.device_uuid > $3) ORDER BY p.device_uuid LIMIT $4",
        rollout_id,
        states,
        after,
        limit,
    )
    return [(part_of(row), row["name"]) for row in rows]


async def add_events(db: Database, events: Sequence[RolloutEvent]) -> None:
    """Keep what happened."""
    if not events:
        return
    await db.execute(
        "INSERT INTO rollout_events (rollout_id, at, kind, device_uuid, code, reason, by, facts) "
        "SELECT e.rollout_id, e.at, e.kind, e.device_uuid, e.code, e.reason, e.by, e.facts::jsonb FROM "
        "unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], "
        "$8::text[]) AS e (rollout_id, at, kind, device_uuid, code, reason, by, facts)",
        [one.rollout_id for one in events],
        [one.at for one in events],
        [one.kind for one in events],
        [one.device_uuid for one in events],
        [one.code for one in events],
        [one.reason for one in events],
        [one.by for one in events],
        [json.dumps(dict(one.facts)) for one in events],
    )


async def events(db: Database, rollout_id: UUID, *, after: int, limit: int) -> list[RolloutEvent]:
    """Return what happened, the oldest first."""
    rows = await db.fetch(
        "SELECT id, rollout_id, at, kind, device_uuid, code, reason, by, facts FROM rollout_events "
        "WHERE rollout_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        rollout_id,
        after,
        limit,
    )
    return [RolloutEvent(**(dict(row) | {"facts": json.loads(row["facts"])})) for row in rows]


async def learn(db: Database, samples: Sequence[Sample], now: datetime) -> None:
    """Remember how long steps took, the newest of each kind and topic."""
    found: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        found.setdefault((sample.name, sample.topic), []).append(sample.seconds)
    for (step, topic), seconds in sorted(found.items()):
        await db.execute(
            "INSERT INTO rollout_step_times AS t (step, topic, seconds, updated_at) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (step, topic) DO UPDATE SET updated_at = EXCLUDED.updated_at, "
            "seconds = (EXCLUDED.seconds || t.seconds)[1:$5]",
            step,
            topic,
            seconds[:_KEPT_TIMES],
            now,
            _KEPT_TIMES,
        )


def rollout_of(row: Any) -> Rollout:
    """Return a rollout, from a row."""
    read = {name: json.loads(row[name]) for name in ("change", "selection", "halt_facts")}
    policy = Policy.model_validate(json.loads(row["policy"]))
    state = RolloutState(row["state"])
    fields: dict[str, Any] = {**dict(row), **read, "policy": policy, "state": state}
    return Rollout(**fields)


def part_of(row: Any) -> Part:
    """Return a part, from a row with `PART`."""
    names = (
        *(
            "device_uuid",
            "wave",
            "reason",
            "code",
            "from_version",
            "to_version",
            "back_version",
            "started_at",
        ),
        *("settled_at", "ended_at", "report_at"),
    )
    read = {name: json.loads(row[name]) for name in ("baseline", "predicted", "actual")}
    deadline = row["deadline"] or row["ended_at"] or row["started_at"]
    same = {name: row[name] for name in names}
    return Part(**same, **read, state=PartState(row["state"]), deadline=deadline)
