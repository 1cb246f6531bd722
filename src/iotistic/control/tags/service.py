"""Set tags, on one device or on many with a result for each; keep definitions.

A definition is never at odds with the tags that stand: it cannot be changed so, and no tag be set so, also
when both are tried at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.repository import Database
from iotistic.control.tags import repository
from iotistic.control.tags.model import (
    Definition,
    DefinitionInUse,
    DefinitionTaken,
    DefinitionUnknown,
    TagMissing,
    check,
    check_kept,
)
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What to do to tags: `tags` are set; the rest goes when it `replaces`, else what `removed` names."""

    tags: Mapping[str, str]
    removed: frozenset[str] = frozenset()
    replaces: bool = False

    def applied(self, before: Mapping[str, str]) -> dict[str, str]:
        """Return the tags after it."""
        kept = {} if self.replaces else {k: v for k, v in before.items() if k not in self.removed}
        return {**kept, **self.tags}


@dataclass(frozen=True, slots=True)
class TagResult:
    """What became of one device: 'done', 'unchanged', or 'refused' with the error."""

    uuid: str
    outcome: str
    error: IotisticError | None = None


class TagService:
    """Tags and definitions of one database."""

    def __init__(self, pool: asyncpg.Pool, *, trail: Trail = NO_TRAIL) -> None:
        self._pool, self._trail = pool, trail

    async def tags(self, uuid: str) -> dict[str, str]:
        """Return a device's tags. Raises DeviceUnknown."""
        with database_errors():
            known = await self._pool.fetchval(
                "SELECT EXISTS (SELECT FROM fleet_devices WHERE uuid = $1::text::uuid)", uuid
            )
            if not known:
                raise DeviceUnknown(uuid=uuid)
            return (await repository.tags_of(self._pool, [uuid]))[uuid]

    async def change(self, uuid: str, change: Change, *, by: Caller) -> dict[str, str]:
        """Change the tags of a device; return them.

        Raises DeviceUnknown, TagInvalid, TagRequired, TooManyTags; TagMissing when nothing of `removed` is there.
        """
        (result,) = await self.change_many([uuid], change, by=by)
        if result.error is not None:
            raise result.error
        if result.outcome == "unchanged" and change.removed:
            raise TagMissing(uuid=uuid, tags=sorted(change.removed))
        return await self.tags(uuid)

    async def change_many(self, uuids: Sequence[str], change: Change, *, by: Caller) -> list[TagResult]:
        """Change the tags of devices, of each all or nothing; results in the order of `uuids`. Raises TagInvalid."""
        wanted = list(dict.fromkeys(uuids))
        seen = [uuid for uuid in wanted if by.scope.sees(UUID(uuid))]
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock(db, definitions=False)
                definitions = await repository.definitions(db)
                check(change.tags, definitions)
                known = await repository.lock_devices(db, seen)
                before = await repository.tags_of(db, known)
                results = {uuid: _judged(uuid, before[uuid], change, definitions) for uuid in known}
                await self._write(db, before, change, results, by)
        return [results.get(uuid) or TagResult(uuid, "refused", DeviceUnknown(uuid=uuid)) for uuid in wanted]

    async def definitions(self) -> list[Definition]:
        """Return all definitions, by key."""
        with database_errors():
            return list((await repository.definitions(self._pool)).values())

    async def define(self, new: Definition) -> None:
        """Keep a definition. Raises DefinitionTaken, DefinitionInUse."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock(db, definitions=True)
                await _check_fits(db, new)
                if not await repository.add_definition(db, new):
                    raise DefinitionTaken(hint="change it with PUT", key=new.key)
        log.info("tag.defined", key=new.key)

    async def redefine(self, new: Definition) -> None:
        """Replace a definition. Raises DefinitionUnknown, DefinitionInUse."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock(db, definitions=True)
                await _check_fits(db, new)
                if not await repository.change_definition(db, new):
                    raise DefinitionUnknown(key=new.key)
        log.info("tag.redefined", key=new.key)

    async def undefine(self, key: str) -> None:
        """Forget a definition. Raises DefinitionUnknown; DefinitionInUse while devices have the tag."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock(db, definitions=True)
                if key not in await repository.definitions(db, [key]):
                    raise DefinitionUnknown(key=key)
                if used := await repository.values_of(db, key, 20):
                    raise DefinitionInUse(
                        "devices have this tag",
                        hint="take it off them first: POST /devices/tags/bulk",
                        values=[value for value, _ in used],
                    )
                await repository.remove_definition(db, key)
        log.info("tag.undefined", key=key)

    async def keys(self) -> list[str]:
        """Return the keys in use."""
        with database_errors():
            return await repository.keys(self._pool)

    async def values(self, key: str) -> list[tuple[str, int]]:
        """Return the values of a key, with how many devices have each."""
        with database_errors():
            return await repository.values_of(self._pool, key)

    async def _write(
        self,
        db: Database,
        before: Mapping[str, Mapping[str, str]],
        change: Change,
        results: Mapping[str, TagResult],
        by: Caller,
    ) -> None:
        done = [uuid for uuid, result in results.items() if result.outcome == "done"]
        gone = [(u, key) for u in done for key in before[u].keys() - change.applied(before[u]).keys()]
        if gone:
            await repository.remove(db, gone)
        if change.tags and done:
            await repository.put(
                db, [(uuid, key, value) for uuid in done for key, value in change.tags.items()]
            )
        for uuid in done:
            await self._trail.record(
                db,
                by,
                "device.tagged",
                ("device", uuid),
                before=before[uuid],
                after=change.applied(before[uuid]),
            )


def _judged(
    uuid: str, before: Mapping[str, str], change: Change, definitions: Mapping[str, Definition]
) -> TagResult:
    after = change.applied(before)
    if after == before:
        return TagResult(uuid, "unchanged")
    try:
        check_kept(before, after, definitions)
    except IotisticError as exc:
        return TagResult(uuid, "refused", exc)
    return TagResult(uuid, "done")


async def _check_fits(db: Database, definition: Definition) -> None:
    if misfits := await repository.misfits(db, definition):
        raise DefinitionInUse(
            f"devices have other values: {', '.join(misfits)[:1000]}",
            hint="allow them, or change the devices' tags first",
            values=misfits,
        )
