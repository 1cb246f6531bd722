"""Rows of the trail and of its chain. Every function takes the connection."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.audit.model import LINKED, Entry, Head
from iotistic.control.audit.port import Database

_JSON = {"before", "after", "details"}
_ROW = ", ".join(f"l.{name}::text AS {name}" if name in _JSON else f"l.{name}" for name in LINKED)


async def add(db: Database, entry: Entry) -> None:
    """Keep an entry."""
    user_id = UUID(entry.actor_id) if entry.actor_type == "user" and _is_uuid(entry.actor_id) else None
    await db.execute(
        "INSERT INTO audit_logs (at, event_type, severity, actor_type, actor_id, user_id, aggregate_type, "
        "aggregate_id, device_uuid, ip_address, user_agent, correlation_id, before, after, details) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::jsonb, $14::text::jsonb, $15::text::jsonb)",
        entry.at,
        entry.action,
        entry.severity,
        entry.actor_type,
        entry.actor_id,
        user_id,
        entry.subject_type,
        entry.subject_id,
        entry.device_uuid,
        entry.address,
        entry.user_agent,
        entry.correlation_id,
        None if entry.before is None else json.dumps(entry.before),
        None if entry.after is None else json.dumps(entry.after),
        json.dumps(dict(entry.details or {})),
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


async def lock_head(db: Database) -> Head | None:
    """Return the end of the chain, which nobody else moves until our transaction ends; None if somebody is at it."""
    row = await db.fetchrow("SELECT position, hash FROM audit_head FOR UPDATE SKIP LOCKED")
    return Head(row["position"], row["hash"]) if row else None


async def head(db: Database) -> Head:
    """Return the end of the chain."""
    row = await db.fetchrow("SELECT position, hash FROM audit_head")
    return Head(row["position"], row["hash"]) if row else Head(0, b"")


async def take_unsealed(db: Database, limit: int) -> list[tuple[int, Any]]:
    """Take what waits to be sealed off the queue, in the order of its ids; the row is None where an entry is gone."""
    rows = await db.fetch(
        "WITH taken AS (DELETE FROM audit_unsealed WHERE log_id IN "  # noqa: S608  constant
        "(SELECT log_id FROM audit_unsealed ORDER BY log_id LIMIT $1) RETURNING log_id, log_at) "
        f"SELECT t.log_id, {_ROW} FROM taken t LEFT JOIN audit_logs l ON l.at = t.log_at AND l.id = t.log_id "
        "ORDER BY t.log_id",
        limit,
    )
    return [(row["log_id"], row if row["id"] is not None else None) for row in rows]


async def add_links(db: Database, links: Sequence[tuple[int, int, datetime, bytes]], now: datetime) -> None:
    """Keep links: (position, entry, its time, hash), and move the end of the chain to the last."""
    positions, ids, times, hashes = zip(*links, strict=True)
    await db.execute(
        "INSERT INTO audit_links (position, log_id, log_at, hash, sealed_at) SELECT *, $5 "
        "FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bytea[])",
        list(positions),
        list(ids),
        list(times),
        list(hashes),
        now,
    )
    await db.execute("UPDATE audit_head SET position = $1, hash = $2", positions[-1], hashes[-1])


async def linked_after(db: Database, position: int, limit: int) -> list[Any]:
    """Return links after a place with their entries, whose fields are None where the entry is gone."""
    return await db.fetch(
        f"SELECT k.position, k.log_id, k.hash, {_ROW} FROM audit_links k "  # noqa: S608  constant
        "LEFT JOIN audit_logs l ON l.at = k.log_at AND l.id = k.log_id "
        "WHERE k.position > $1 ORDER BY k.position LIMIT $2",
        position,
        limit,
    )


async def unlinked(db: Database, limit: int) -> list[int]:
    """Return entries that neither have a link nor wait for one."""
    rows = await db.fetch(
        "SELECT l.id FROM audit_logs l WHERE NOT EXISTS (SELECT FROM audit_links k WHERE k.log_id = l.id "
        "AND k.log_at = l.at) AND NOT EXISTS (SELECT FROM audit_unsealed u WHERE u.log_id = l.id) ORDER BY l.id LIMIT $1",
        limit,
    )
    return [row["id"] for row in rows]


async def count_unsealed(db: Database) -> int:
    """Return how many entries wait to be sealed."""
    return int(await db.fetchval("SELECT count(*) FROM audit_unsealed"))


@dataclass(frozen=True, slots=True)
class Drop:
    """A month that has left."""

    month: datetime
    entries: int
    last: Head
    ends: dict[int, bytes]
    """The hash at each place that is missing just before a link that stays."""


async def drops(db: Database) -> list[Drop]:
    """Return the months that have left, the first one first."""
    rows = await db.fetch("SELECT * FROM audit_drops ORDER BY month")
    return [
        Drop(
            row["month"],
            row["entries"],
            Head(row["last_position"], row["last_hash"]),
            dict(zip(row["ends"], row["end_hashes"], strict=True)),
        )
        for row in rows
    ]


async def add_drop(db: Database, drop: Drop, now: datetime) -> None:
    """Remember a month that leaves."""
    await db.execute(
        "INSERT INTO audit_drops (month, entries, last_position, last_hash, ends, end_hashes, dropped_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        drop.month,
        drop.entries,
        drop.last.position,
        drop.last.hash,
        list(drop.ends),
        list(drop.ends.values()),
        now,
    )


async def guards(db: Database) -> list[str]:
    """Return the tables of the trail whose guard against changes is off or gone."""
    rows = await db.fetch(
        "SELECT c.relname FROM pg_class c WHERE c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent IN "
        "('audit_logs'::regclass, 'audit_links'::regclass) UNION VALUES ('audit_logs'::regclass), "
        "('audit_links'::regclass), ('audit_drops'::regclass)) AND (SELECT count(*) FROM pg_trigger g "
        "WHERE g.tgrelid = c.oid AND g.tgname IN ('append_only', 'append_only_truncate') "
        "AND g.tgenabled IN ('O', 'A')) < 2 ORDER BY 1"
    )
    return [row["relname"] for row in rows]
