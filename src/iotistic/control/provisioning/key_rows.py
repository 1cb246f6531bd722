"""Rows of provisioning keys; a use is taken by the one statement that also checks the key."""

from datetime import datetime, timedelta
from typing import Any

from iotistic.control.devices.repository import Database
from iotistic.control.provisioning.model import ProvisioningKey

_KEY = (
    "id::text, digest, fleet_id, description, max_uses, current_uses, created_at, created_by, expires_at, "
    "revoked_at, revoked_reason"
)


async def add(
    db: Database,
    *,
    prefix: str,
    digest: bytes,
    fleet_id: str,
    description: str,
    max_uses: int,
    created_by: str,
    now: datetime,
    lives: timedelta,
) -> ProvisioningKey:
    """Keep a new key."""
    row = await db.fetchrow(
        "INSERT INTO provisioning_keys (prefix, digest, fleet_id, description, max_uses, created_by, "  # noqa: S608  constant
        f"created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {_KEY}",
        prefix,
        digest,
        fleet_id,
        description,
        max_uses,
        created_by,
        now,
        now + lives,
    )
    return _read(row)


async def find(db: Database, prefix: str) -> ProvisioningKey | None:
    """Return the key that begins like this."""
    row = await db.fetchrow(f"SELECT {_KEY} FROM provisioning_keys WHERE prefix = $1", prefix)  # noqa: S608  constant
    return _read(row) if row else None


async def take_use(db: Database, key_id: str, now: datetime) -> bool:
    """Take one use; tell whether there was one. Others who want the same key wait until our transaction ends."""
    return (
        await db.execute(
            "UPDATE provisioning_keys SET current_uses = current_uses + 1 WHERE id = $1::text::uuid "
            "AND revoked_at IS NULL AND expires_at > $2 AND current_uses < max_uses",
            key_id,
            now,
        )
        == "UPDATE 1"
    )


async def revoke(db: Database, key_id: str, reason: str | None, now: datetime) -> ProvisioningKey | None:
    """Revoke a key; one that is revoked keeps its time and reason."""
    row = await db.fetchrow(
        "UPDATE provisioning_keys SET revoked_reason = CASE WHEN revoked_at IS NULL THEN $2 "  # noqa: S608  constant
        "ELSE revoked_reason END, revoked_at = coalesce(revoked_at, $3) "
        f"WHERE id = $1::text::uuid RETURNING {_KEY}",
        key_id,
        reason,
        now,
    )
    return _read(row) if row else None


async def list_of(db: Database, fleet_id: str | None, limit: int) -> list[ProvisioningKey]:
    """Return the keys of a fleet, or of all, the newest first."""
    rows = await db.fetch(
        f"SELECT {_KEY} FROM provisioning_keys WHERE $1::text IS NULL OR fleet_id = $1 "  # noqa: S608  constant
        "ORDER BY created_at DESC, id LIMIT $2",
        fleet_id,
        limit,
    )
    return [_read(row) for row in rows]


def _read(row: Any) -> ProvisioningKey:
    return ProvisioningKey(**dict(row))
