"""Rows of many devices in one statement each.

They are found one by one through the primary keys: `OFFSET 0` keeps the planner from joining whole tables because it
guesses the arrays to be long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from iotistic.control.devices.repository import Database

RECOGNISE = (
    "SELECT q.place, k.digest, k.is_active, k.etag "
    "FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY q (uuid, prefix, place) CROSS JOIN LATERAL ("
    "SELECT c.digest, c.is_active, t.etag FROM device_credentials c "
    "LEFT JOIN device_targets t ON t.device_uuid = c.device_uuid "
    "WHERE c.device_uuid = q.uuid AND c.prefix = q.prefix AND (c.ends_at IS NULL OR c.ends_at > $3) OFFSET 0) k"
)
_MERGE = (
    "INSERT INTO device_states (device_uuid, fields, reported_at) "
    "SELECT uuid, fields::jsonb, at FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) q (uuid, fields, at) "
    "ON CONFLICT (device_uuid) DO UPDATE SET fields = device_states.fields || EXCLUDED.fields, "
    "reported_at = greatest(device_states.reported_at, EXCLUDED.reported_at)"
)


@dataclass(frozen=True, slots=True)
class Known:
    """Who shows a key: what is kept of the key, whether the device is active, and the name of its target."""

    digest: bytes
    is_active: bool
    etag: str | None


async def recognise(db: Database, shown: Sequence[tuple[str, bytes]], now: datetime) -> list[Known | None]:
    """Return who shows each (uuid, prefix of a key); None where no key that is good begins like this."""
    found: list[Known | None] = [None] * len(shown)
    rows = await db.fetch(RECOGNISE, [uuid for uuid, _ in shown], [prefix for _, prefix in shown], now)
    for place, *known in rows:
        found[place - 1] = Known(*known)
    return found


async def merge_reports(db: Database, reports: Sequence[tuple[str, str, datetime]]) -> None:
    """Note what devices reported: (uuid, fields as JSON, time), each device once; what they did not mention stays."""
    await db.execute(
        _MERGE,
        [uuid for uuid, _, _ in reports],
        [fields for _, fields, _ in reports],
        [at for _, _, at in reports],
    )
