"""One device, with everything that the cloud knows of it."""

import json
from collections.abc import Mapping
from typing import Any, cast

import asyncpg

from iotistic.control.devices import listing
from iotistic.control.devices.fleet_schemas import device_answer
from iotistic.control.devices.model import DeviceUnknown

# What a report says that is shown by itself, and not as the system's figures.
_APART = ("apps", "config", "version")

_STATES = (
    "SELECT t.document, t.version, t.deployed_at, t.deployed_by, t.draft, t.drafted_at, "
    "s.fields::text AS fields, s.reported_at "
    "FROM (SELECT $1::text::uuid AS uuid) d LEFT JOIN device_targets t ON t.device_uuid = d.uuid "
    "LEFT JOIN device_states s ON s.device_uuid = d.uuid"
)


async def detail(pool: asyncpg.Pool, uuid: str) -> dict[str, Any]:
    """Return a device with its target and its report; null where it has none. Raises DeviceUnknown."""
    row = await listing.one(pool, uuid)
    if row is None:
        raise DeviceUnknown(uuid=uuid)
    (states,) = await pool.fetch(_STATES, uuid)
    return {
        "device": device_answer(row),
        "target_state": _target(states) if states["document"] else None,
        "current_state": _current(states) if states["fields"] else None,
    }


async def interfaces(pool: asyncpg.Pool, uuid: str) -> dict[str, Any]:
    """Return the network interfaces that a device reported last. Raises DeviceUnknown."""
    row = await pool.fetchrow(
        "SELECT r.network_interfaces::text AS found, r.reported_at FROM fleet_devices d "
        "LEFT JOIN device_reports r ON r.device_uuid = d.uuid WHERE d.uuid = $1::text::uuid",
        uuid,
    )
    if row is None:
        raise DeviceUnknown(uuid=uuid)
    found: object = json.loads(row["found"] or "[]")
    listed = cast("list[object]", found) if isinstance(found, list) else []
    kept = [cast("dict[str, object]", one) for one in listed if isinstance(one, dict)]
    return {"count": len(kept), "interfaces": kept, "reported_at": row["reported_at"]}


def _target(row: Mapping[str, Any]) -> dict[str, Any]:
    document = json.loads(row["document"])
    return {
        "apps": document.get("apps", {}),
        "config": document.get("config", {}),
        "version": row["version"],
        "needs_deployment": row["draft"] is not None,
        "last_deployed_at": row["deployed_at"],
        "deployed_by": row["deployed_by"],
        "updated_at": row["drafted_at"] or row["deployed_at"],
    }


def _current(row: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(row["fields"])
    return {
        "apps": fields.get("apps", {}),
        "config": fields.get("config", {}),
        "version": fields.get("version"),
        "system_info": {name: value for name, value in fields.items() if name not in _APART},
        "reported_at": row["reported_at"],
    }
