"""Targets of many devices at once, in the caller's transaction: all of a batch is in force, or nothing is.

Written beside `states`, whose use cases are about one device and have a transaction of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.states.model import Target, make_target

_LOCKED = (
    "SELECT device_uuid, version, document, etag, (draft IS NOT NULL) AS drafted FROM device_targets "
    "WHERE device_uuid = ANY($1::uuid[]) ORDER BY device_uuid FOR UPDATE"
)
_FORMER = (
    "SELECT h.device_uuid, h.document FROM device_target_history h "
    "JOIN unnest($1::uuid[], $2::bigint[]) AS wanted (device_uuid, version) USING (device_uuid, version)"
)
_ROWS = (
    "unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) AS new (device_uuid, version, document, etag)"
)
# What somebody drafted stays; a device that has a draft is not begun with, but may be rolled back.
_PUT = (
    "UPDATE device_targets t SET version = new.version, document = new.document, etag = new.etag, "  # noqa: S608  constant
    f"deployed_at = $5, deployed_by = $6 FROM {_ROWS} WHERE t.device_uuid = new.device_uuid"
)
_REMEMBER = (
    "INSERT INTO device_target_history (device_uuid, version, document, etag, deployed_at, deployed_by) "  # noqa: S608  constant
    # In the order in which a removal locks devices: each row refers to one.
    f"SELECT new.device_uuid, new.version, new.document, new.etag, $5, $6 FROM {_ROWS} ORDER BY new.device_uuid "
    "ON CONFLICT (device_uuid, version) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class InForce:
    """What a device has now; nobody changes it until the transaction ends."""

    version: int
    document: str
    etag: str
    drafted: bool


async def lock_targets(db: Database, devices: Iterable[UUID]) -> dict[UUID, InForce]:
    """Return the targets of devices, locked."""
    rows = await db.fetch(_LOCKED, list(devices))
    names = ("version", "document", "etag", "drafted")
    return {row["device_uuid"]: InForce(*(row[name] for name in names)) for row in rows}


async def former_documents(db: Database, versions: dict[UUID, int]) -> dict[UUID, str]:
    """Return the documents of older versions."""
    rows = await db.fetch(_FORMER, list(versions), list(versions.values()))
    return {row["device_uuid"]: row["document"] for row in rows}


def next_target(content: dict[str, Any], before: InForce, *, at: datetime, by: str) -> Target:
    """Return the version after the one in force. Raises TargetInvalid, TargetTooLarge."""
    return make_target(content, version=before.version + 1, at=at, by=by)


async def put_targets(db: Database, targets: Sequence[tuple[UUID, Target]], *, at: datetime, by: str) -> None:
    """Let targets be in force; they join the history."""
    if not targets:
        return
    columns = (
        [uuid for uuid, _ in targets],
        [target.version for _, target in targets],
        [target.document for _, target in targets],
        [target.etag for _, target in targets],
    )
    await db.execute(_PUT, *columns, at, by)
    await db.execute(_REMEMBER, *columns, at, by)
