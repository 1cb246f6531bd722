"""Rows of presence. All times are the database's: several hosts need not agree on theirs.

Rows are locked in the order of their uuids before they are changed, so that no two processes wait for each
other; what a statement sees as changed was changed by it and by nobody else.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from iotistic.control.devices.repository import Database
from iotistic.control.presence.model import Standing, Transition

_LOCK = (
    "SELECT device_uuid::text, is_online FROM device_presence WHERE device_uuid = ANY($1::text[]::uuid[]) "
    "ORDER BY device_uuid FOR NO KEY UPDATE"
)
_RENEW = (
    "UPDATE device_presence p SET seen_at = greatest(p.seen_at, t.at), source = t.source, "
    "lease_until = greatest(p.lease_until, t.at + $4::interval), "
    "is_online = p.is_online OR t.at + $4::interval > t.now, "
    "changed_at = CASE WHEN p.is_online OR t.at + $4::interval <= t.now THEN p.changed_at ELSE t.now END "
    "FROM (SELECT uuid, source, now, now - make_interval(secs => age) AS at "
    "FROM unnest($1::text[]::uuid[], $2::float8[], $3::text[]) u (uuid, age, source), "
    "(SELECT clock_timestamp() AS now) c) t "
    # What was noticed before the session ended says nothing of the time after.
    "WHERE p.device_uuid = t.uuid AND (p.closed_at IS NULL OR t.at > p.closed_at) "
    "RETURNING p.device_uuid::text, p.is_online, p.changed_at, p.source, p.epoch"
)
_OPEN = (
    "UPDATE device_presence SET epoch = epoch + 1, closed_at = NULL, seen_at = clock_timestamp(), source = $2, "
    "lease_until = clock_timestamp() + $3::interval, is_online = true, "
    "changed_at = CASE WHEN is_online THEN changed_at ELSE clock_timestamp() END "
    "WHERE device_uuid = ANY($1::text[]::uuid[]) "
    "RETURNING device_uuid::text, is_online, changed_at, source, epoch"
)
_CLOSE = (
    "UPDATE device_presence p SET closed_at = clock_timestamp(), "
    "lease_until = least(lease_until, clock_timestamp() + $3::interval) "
    "FROM unnest($1::text[]::uuid[], $2::bigint[]) u (uuid, epoch) "
    "WHERE p.device_uuid = u.uuid AND (u.epoch IS NULL OR p.epoch = u.epoch) RETURNING p.device_uuid::text"
)
_END = (
    "UPDATE device_presence SET is_online = false, changed_at = $2 "
    "WHERE device_uuid = ANY($1::text[]::uuid[]) AND is_online "
    "RETURNING device_uuid::text, changed_at, closed_at, epoch, seen_at"
)
_OVER = (
    "SELECT device_uuid::text FROM device_presence WHERE is_online AND lease_until < $1 "
    "ORDER BY device_uuid LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
)

# With a clock that was set back, what lies ahead of it would count for as long as it was set back.
_PUT_OFF = (
    "WITH theirs AS (SELECT device_uuid FROM device_presence WHERE CASE WHEN is_online THEN lease_until > $1 "
    "ELSE seen_at > $3 OR closed_at > $3 END ORDER BY device_uuid FOR NO KEY UPDATE), "
    "moved AS (UPDATE device_presence p SET seen_at = least(seen_at, $3), closed_at = least(closed_at, $3), "
    "lease_until = CASE WHEN is_online THEN lease_until + $2::interval ELSE lease_until END "
    "FROM theirs t WHERE p.device_uuid = t.device_uuid RETURNING p.is_online) "
    "SELECT count(*) FILTER (WHERE is_online) FROM moved"
)


async def renew(db: Database, signs: Sequence[tuple[str, float, str]], lease: timedelta) -> list[Transition]:
    """Renew leases by (uuid, age in seconds, sign); return who came."""
    uuids = [uuid for uuid, _, _ in signs]
    was_online = {row["device_uuid"]: row["is_online"] for row in await db.fetch(_LOCK, uuids)}
    ages, names = [age for _, age, _ in signs], [name for _, _, name in signs]
    rows = await db.fetch(_RENEW, uuids, ages, names, lease)
    came = [row for row in rows if row["is_online"] and not was_online[row["device_uuid"]]]
    return [_coming(row) for row in came]


async def open_sessions(
    db: Database, uuids: Sequence[str], source: str, lease: timedelta
) -> tuple[dict[str, int], list[Transition]]:
    """Begin the next epoch of devices; return the epochs of those that there are, and who came by it."""
    before = {row["device_uuid"]: row["is_online"] for row in await db.fetch(_LOCK, list(uuids))}
    rows = await db.fetch(_OPEN, list(before), source, lease)
    came = [_coming(row) for row in rows if not before[row["device_uuid"]]]
    return {row["device_uuid"]: row["epoch"] for row in rows}, came


async def close_sessions(
    db: Database, sessions: Sequence[tuple[str, int | None]], grace: timedelta
) -> list[str]:
    """Shorten leases to a grace, unless a newer session stands than the one named; return whose it was."""
    uuids = [uuid for uuid, _ in sessions]
    await db.fetch(_LOCK, uuids)
    rows = await db.fetch(_CLOSE, uuids, [epoch for _, epoch in sessions], grace)
    return [row["device_uuid"] for row in rows]


async def tally(db: Database, outage: timedelta) -> Any:
    """Return when somebody looked last and whether that is so still, and how many devices are here."""
    return await db.fetchrow(
        "SELECT alive_at AS last_check_at, clock_timestamp() - alive_at < $1 AS is_attended, "
        "count(*) FILTER (WHERE is_online) AS online, "
        "count(*) FILTER (WHERE NOT is_online) AS offline, "
        "count(*) FILTER (WHERE NOT is_online AND seen_at = 'epoch') AS never_seen "
        "FROM presence_watch LEFT JOIN device_presence ON true GROUP BY alive_at",
        outage,
    )


async def watched(db: Database) -> tuple[datetime, datetime] | None:
    """Return until when somebody listened, and the present; None while another keeper has the watch."""
    row = await db.fetchrow(
        "SELECT alive_at, clock_timestamp() AS now FROM presence_watch FOR UPDATE SKIP LOCKED"
    )
    return (row["alive_at"], row["now"]) if row else None


async def watch(db: Database, now: datetime) -> None:
    """Note that somebody listens."""
    await db.execute("UPDATE presence_watch SET alive_at = $1", now)


async def put_off(db: Database, alive_at: datetime, by: timedelta, now: datetime) -> int:
    """Move the leases that ran at `alive_at` by a time that nobody listened, or that the clock jumped."""
    return await db.fetchval(_PUT_OFF, min(alive_at, now), by, now)


async def over(db: Database, now: datetime, limit: int) -> list[str]:
    """Return devices whose lease is over, locked; those that somebody else is about are left to him."""
    return [row["device_uuid"] for row in await db.fetch(_OVER, now, limit)]


async def end(db: Database, uuids: Sequence[str], now: datetime) -> list[Any]:
    """Let devices be gone; return the rows of those that were here."""
    await db.fetch(_LOCK, list(uuids))
    return await db.fetch(_END, list(uuids), now)


async def now_of(db: Database) -> datetime:
    """Return the database's time."""
    return await db.fetchval("SELECT clock_timestamp()")


async def remember(db: Database, transitions: Sequence[Transition]) -> None:
    """Keep transitions."""
    await db.execute(
        "INSERT INTO device_presence_history (device_uuid, at, is_online, reason, epoch) "
        "SELECT * FROM unnest($1::text[]::uuid[], $2::timestamptz[], $3::boolean[], $4::text[], $5::bigint[])",
        [one.device_uuid for one in transitions],
        [one.at for one in transitions],
        [one.is_online for one in transitions],
        [one.reason for one in transitions],
        [one.epoch for one in transitions],
    )


async def history(db: Database, uuid: str, before: int | None, limit: int) -> list[tuple[int, Transition]]:
    """Return comings and goings with their ids, the newest first."""
    rows = await db.fetch(
        "SELECT id, device_uuid::text, is_online, at, reason, epoch FROM device_presence_history "
        "WHERE device_uuid = $1::text::uuid AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
        uuid,
        before,
        limit,
    )
    return [(row["id"], Transition(**{k: v for k, v in row.items() if k != "id"})) for row in rows]


async def forget(db: Database, before: datetime, limit: int) -> int:
    """Drop old comings and goings; return how many."""
    done = await db.execute(
        "DELETE FROM device_presence_history WHERE id IN ("
        # What a removal or another process is about is left to it.
        "SELECT id FROM device_presence_history WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        limit,
    )
    return int(done.rpartition(" ")[2])


async def find(db: Database, uuid: str) -> Standing | None:
    """Return how a device stands."""
    row = await db.fetchrow(
        "SELECT is_online, nullif(seen_at, 'epoch') AS seen_at, nullif(lease_until, 'epoch') AS lease_until, "
        "nullif(changed_at, 'epoch') AS changed_at, source, epoch FROM device_presence "
        "WHERE device_uuid = $1::text::uuid",
        uuid,
    )
    return Standing(**dict(row)) if row else None


def _coming(row: Any) -> Transition:
    return Transition(
        device_uuid=row["device_uuid"],
        is_online=True,
        at=row["changed_at"],
        reason=row["source"],
        epoch=row["epoch"],
    )
