"""Devices go, with all that hangs on them.

The database removes what a device owns, in an order of its own. Others hold rows of many devices and wait for more,
so all such rows are locked here first, in the order in which those lock them; nobody waits in a circle.

    names - rollouts that are made - rollouts - tally - devices - presence - parts of jobs - anomalies

Whoever locks another row of one device, and then writes one that refers to the device, locks the device before both
(FOR KEY SHARE).
"""

from collections.abc import Sequence

from iotistic.control.devices import repository
from iotistic.control.devices.repository import Database

_NAMES = (
    "SELECT pg_advisory_xact_lock(hashtextextended('device:' || uuid, 0)) "
    "FROM (SELECT uuid FROM unnest($1::text[]) uuid ORDER BY uuid) named"
)
# A look at a rollout takes its parts and the targets of devices, and only then refers to the devices. None is made
# meanwhile, or we would not have it.
_MAKING = "SELECT pg_advisory_xact_lock_shared(hashtextextended('rollouts: making', 0))"
_ROLLOUTS = (
    "SELECT FROM rollouts WHERE state IN ('running', 'paused', 'halted', 'cancelling', 'rolling_back') AND id IN "
    "(SELECT rollout_id FROM rollout_parts WHERE device_uuid = ANY($1::text[]::uuid[])) "
    "ORDER BY id FOR NO KEY UPDATE"
)
_DEVICES = "SELECT FROM fleet_devices WHERE uuid = ANY($1::text[]::uuid[]) ORDER BY uuid FOR UPDATE"
_OWNED = tuple(
    f"SELECT FROM {table} WHERE device_uuid = ANY($1::text[]::uuid[]) ORDER BY {order} FOR UPDATE"
    for table, order in (
        ("device_presence", "device_uuid"),
        ("device_job_status", "device_uuid, job_id"),
        ("anomalies", "device_uuid, name"),
    )
)


async def hold(db: Database, uuids: Sequence[str]) -> None:
    """Let nobody else change these devices, or how many there are, until our transaction ends; they need not exist."""
    await db.execute(_NAMES, list(uuids))
    await db.execute(_MAKING)
    await db.execute(_ROLLOUTS, list(uuids))
    await repository.lock_tally(db)
    await db.execute(_DEVICES, list(uuids))


async def remove(db: Database, uuids: Sequence[str]) -> int:
    """Remove devices that are held, with all that they own; return how many there were."""
    for statement in _OWNED:
        await db.execute(statement, list(uuids))
    done = await db.execute("DELETE FROM fleet_devices WHERE uuid = ANY($1::text[]::uuid[])", list(uuids))
    return int(done.rpartition(" ")[2])
