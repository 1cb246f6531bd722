"""Rows of devices and their keys. Every function takes the connection: the service decides on transactions."""

import contextlib
from collections.abc import Generator
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from iotistic.control.devices.keys import prefix_of
from iotistic.control.devices.model import ApiKey, Device, MacAwaited, NewDevice

_DEVICE = (
    "uuid::text, number, name, type, fleet_id, application_id, mac_address, os_version, agent_version, "
    "is_active, created_at"
)
_KEY = "k.digest, k.origin, k.created_at, k.due_at, k.ends_at"


class Database(Protocol):
    """A connection or a pool."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Any:
        """Return the first row or None."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        ...


async def lock(db: Database, uuid: str) -> None:
    """Make other transactions about this device wait until ours ends; it need not exist yet."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('device:' || $1, 0))", uuid)


async def lock_tally(db: Database) -> int:
    """Return how many devices there are; nobody adds or removes one until our transaction ends."""
    return int(await db.fetchval("SELECT devices FROM fleet_device_tally FOR UPDATE"))


async def find(db: Database, uuid: str) -> Device | None:
    """Return a device."""
    row = await db.fetchrow(f"SELECT {_DEVICE} FROM fleet_devices WHERE uuid = $1::text::uuid", uuid)  # noqa: S608  constant
    return Device(**dict(row)) if row else None


async def add(db: Database, new: NewDevice, now: datetime) -> Device:
    """Keep a new device."""
    row = await db.fetchrow(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id, application_id, mac_address, os_version, "  # noqa: S608  constant
        "agent_version, created_at) VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9) "
        f"RETURNING {_DEVICE}",
        *_values(new),
        now,
    )
    return Device(**dict(row))


async def announce(db: Database, new: NewDevice, ip_address: str, now: datetime) -> None:
    """Keep a device that is to come, inactive until then."""
    await db.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id, mac_address, ip_address, is_active, "
        "provisioning_state, created_at) VALUES ($1::text::uuid, $2, $3, $4, $5, $6, false, 'pending', $7)",
        new.uuid,
        new.name,
        new.type,
        new.fleet_id,
        new.mac_address,
        ip_address,
        now,
    )


async def awaited(db: Database, uuid: str, mac_address: str) -> Device | None:
    """Return the announced device that one with this uuid or MAC is, locked; the uuid counts more."""
    row = await db.fetchrow(
        f"SELECT {_DEVICE} FROM fleet_devices WHERE provisioning_state = 'pending' AND "  # noqa: S608  constant
        "(uuid = $1::text::uuid OR $2 <> '' AND mac_address <> '' AND plain_mac(mac_address) = plain_mac($2)) "
        "ORDER BY uuid <> $1::text::uuid LIMIT 1 FOR UPDATE",
        uuid,
        mac_address,
    )
    return Device(**dict(row)) if row else None


async def take_over(db: Database, announced: str, new: NewDevice) -> Device:
    """Let an announced device be the one that came; what was made for it follows, and its name stays."""
    row = await db.fetchrow(
        "UPDATE fleet_devices SET uuid = $2::text::uuid, type = $3, fleet_id = $4, application_id = $5, "  # noqa: S608  constant
        "mac_address = $6, os_version = $7, agent_version = $8, is_active = true, "
        f"provisioning_state = 'registered' WHERE uuid = $1::text::uuid RETURNING {_DEVICE}",
        announced,
        new.uuid,
        *_values(new)[2:],
    )
    return Device(**dict(row))


@contextlib.contextmanager
def awaited_once() -> Generator[None]:
    """Raise MacAwaited where two announced devices would have one MAC."""
    try:
        yield
    except asyncpg.UniqueViolationError as exc:
        if exc.constraint_name != "fleet_devices_awaited":
            raise
        raise MacAwaited(hint="look for it with GET /devices?mac=") from exc


async def describe(db: Database, new: NewDevice) -> Device:
    """Note what a known device tells of itself now; its fleet stays."""
    row = await db.fetchrow(
        "UPDATE fleet_devices SET name = $2, type = $3, application_id = $4, mac_address = $5, "  # noqa: S608  constant
        f"os_version = $6, agent_version = $7 WHERE uuid = $1::text::uuid RETURNING {_DEVICE}",
        *(value for index, value in enumerate(_values(new)) if index != 3),  # noqa: PLR2004  the fleet
    )
    return Device(**dict(row))


async def add_key(db: Database, uuid: str, key: ApiKey) -> None:
    """Keep a key; the same key again is as new."""
    await db.execute(
        "INSERT INTO device_api_keys (device_uuid, prefix, digest, origin, created_at, due_at, ends_at) "
        "VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7) ON CONFLICT (device_uuid, prefix) DO UPDATE "
        "SET digest = EXCLUDED.digest, created_at = EXCLUDED.created_at, due_at = EXCLUDED.due_at, "
        "ends_at = EXCLUDED.ends_at",
        uuid,
        prefix_of(key.digest),
        key.digest,
        key.origin,
        key.created_at,
        key.due_at,
        key.ends_at,
    )


async def key_of(db: Database, uuid: str, digest: bytes) -> tuple[ApiKey, bool] | None:
    """Return the key that may be this one, and whether its device is active."""
    row = await db.fetchrow(
        f"SELECT {_KEY}, d.is_active FROM device_api_keys k JOIN fleet_devices d ON d.uuid = k.device_uuid "  # noqa: S608  constant
        "WHERE k.device_uuid = $1::text::uuid AND k.prefix = $2",
        uuid,
        prefix_of(digest),
    )
    return (_key(row), row["is_active"]) if row else None


async def owner_of(db: Database, digest: bytes) -> list[tuple[str, ApiKey, bool]]:
    """Return the devices whose key may be this one, their keys, and whether they are active."""
    rows = await db.fetch(
        f"SELECT d.uuid::text, {_KEY}, d.is_active FROM device_api_keys k "  # noqa: S608  constant
        "JOIN fleet_devices d ON d.uuid = k.device_uuid WHERE k.prefix = $1",
        prefix_of(digest),
    )
    return [(row["uuid"], _key(row), row["is_active"]) for row in rows]


async def keys_of(db: Database, uuid: str, *, limit: int = 100) -> list[ApiKey]:
    """Return the keys of a device, the newest first."""
    rows = await db.fetch(
        f"SELECT {_KEY} FROM device_api_keys k WHERE device_uuid = $1::text::uuid "  # noqa: S608  constant
        "ORDER BY created_at DESC LIMIT $2",
        uuid,
        limit,
    )
    return [_key(row) for row in rows]


async def end_keys(db: Database, uuid: str, ends_at: datetime) -> None:
    """Let every key of a device end at a time; those that end sooner keep theirs."""
    await db.execute(
        "UPDATE device_api_keys SET ends_at = $2 WHERE device_uuid = $1::text::uuid "
        "AND (ends_at IS NULL OR ends_at > $2)",
        uuid,
        ends_at,
    )


async def forget_keys(db: Database, uuid: str, ended_before: datetime | None = None) -> None:
    """Remove the keys of a device that ended before a time, or all of them."""
    await db.execute(
        "DELETE FROM device_api_keys WHERE device_uuid = $1::text::uuid "
        "AND ($2::timestamptz IS NULL OR ends_at < $2)",
        uuid,
        ended_before,
    )


def _values(new: NewDevice) -> tuple[str, ...]:
    described = (new.application_id, new.mac_address, new.os_version, new.agent_version)
    return (new.uuid, new.name, new.type, new.fleet_id, *described)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        digest=row["digest"],
        origin=row["origin"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        ends_at=row["ends_at"],
    )
