"""Switch devices on and off, describe and remove them: one, or many with a result for each.

What is done is told to an audit trail in the same transaction: both happen, or neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.control.devices import removal, repository
from iotistic.control.devices.model import DeviceUnknown
from iotistic.kernel.errors import Invalid
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

MOST_AT_ONCE = 1000
_DESCRIBED = ("name", "type", "fleet_id", "mac_address", "ip_address")
_LOCK = (
    "SELECT uuid::text, is_active FROM fleet_devices WHERE uuid = ANY($1::text[]::uuid[]) "
    "ORDER BY uuid FOR NO KEY UPDATE"
)


class NothingToChange(Invalid):
    """The request names nothing to change."""

    code = "device.nothing_to_change"


class Act(StrEnum):
    """What is done to a device."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    DELETE = "delete"


_ACTIONS = {
    Act.ACTIVATE: "device.activated",
    Act.DEACTIVATE: "device.deactivated",
    Act.DELETE: "device.removed",
}


class Outcome(StrEnum):
    """What became of it."""

    DONE = "done"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"
    """There is no such device; or none that the caller sees."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one device."""

    uuid: str
    outcome: Outcome


class Parting(Protocol):
    """Lets devices be gone that were switched off (Presence)."""

    async def deactivated(self, db: Any, uuids: Sequence[str]) -> None:
        """Do so in the transaction of `db`."""
        ...


class Lifecycle:
    """What people do to devices."""

    def __init__(
        self, pool: asyncpg.Pool, *, trail: Trail = NO_TRAIL, parting: Parting | None = None
    ) -> None:
        self._pool, self._trail, self._parting = pool, trail, parting

    async def act(self, act: Act, uuids: Sequence[str], *, by: Caller) -> list[ItemResult]:
        """Do something to devices; the results stand in the order of `uuids`.

        One that is there no more, or is so already, changes nothing for the others.
        """
        seen = sorted({uuid for uuid in uuids if by.scope.sees(UUID(uuid))})
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if act is Act.DELETE:
                    await removal.hold(db, seen)
                known: dict[str, bool] = {
                    row["uuid"]: row["is_active"] for row in await db.fetch(_LOCK, seen)
                }
                todo = [uuid for uuid, is_active in known.items() if is_active is not _wanted(act)]
                await self._do(db, act, todo)
                for uuid in todo:
                    await self._trail.record(
                        db, by, _ACTIONS[act], ("device", uuid), severity=Severity.WARNING
                    )
        log.info("devices.changed", act=act.value, by=by.name, devices=len(todo))
        return [ItemResult(uuid, _outcome(uuid, known, todo)) for uuid in dict.fromkeys(uuids)]

    async def describe(self, uuid: str, values: Mapping[str, str], *, by: Caller) -> None:
        """Change what `values` names of name, type, fleet_id, mac_address, ip_address.

        Raises DeviceUnknown, NothingToChange, MacAwaited.
        """
        named = [name for name in _DESCRIBED if name in values]
        if not named:
            raise NothingToChange(hint=f"name one of {', '.join(_DESCRIBED)}")
        sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(named, start=2))
        with repository.awaited_once(), database_errors():
            async with self._pool.acquire() as db, db.transaction():
                done = await db.execute(
                    f"UPDATE fleet_devices SET {sets} WHERE uuid = $1::text::uuid",  # noqa: S608  constants
                    uuid,
                    *(values[name] for name in named),
                )
                if done == "UPDATE 0":
                    raise DeviceUnknown(uuid=uuid)
                changed = {name: values[name] for name in named}
                await self._trail.record(db, by, "device.described", ("device", uuid), after=changed)
        log.info("device.described", device_uuid=uuid, by=by.name, fields=named)

    async def _do(self, db: Any, act: Act, uuids: Sequence[str]) -> None:
        if not uuids:
            return
        if act is Act.DELETE:
            await removal.remove(db, uuids)
            return
        await db.execute(
            "UPDATE fleet_devices SET is_active = $2 WHERE uuid = ANY($1::text[]::uuid[])",
            list(uuids),
            act is Act.ACTIVATE,
        )
        if act is Act.DEACTIVATE and self._parting is not None:
            await self._parting.deactivated(db, uuids)


def _wanted(act: Act) -> bool | None:
    return None if act is Act.DELETE else act is Act.ACTIVATE


def _outcome(uuid: str, known: Mapping[str, bool], todo: Sequence[str]) -> Outcome:
    if uuid not in known:
        return Outcome.UNKNOWN
    return Outcome.DONE if uuid in todo else Outcome.UNCHANGED
