"""The use cases around templates: keep versions, preview and apply to a device, begin new devices with one."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import asyncpg
import structlog

from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.states.model import Standing, TargetInvalid, TargetTooLarge
from iotistic.control.states.service import Edited, StateService
from iotistic.control.templates import rows
from iotistic.control.templates.model import (
    Scalar,
    Template,
    TemplateChanged,
    TemplateExists,
    TemplateUnknown,
    Values,
    check_template,
    filled,
)
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

Finish = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filling:
    """Which version is filled in with which parameters; `merge` leaves the device's other apps and settings."""

    parameters: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    version: int | None = None
    merge: bool = False


class TemplateService:
    """Templates of one database."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        states: StateService,
        *,
        trail: Trail = NO_TRAIL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._states, self._trail, self._clock = pool, states, trail, clock

    async def create(
        self,
        name: str,
        content: Mapping[str, Any],
        *,
        parameters: Mapping[str, Scalar | None],
        description: str,
        is_default: bool,
        by: str,
    ) -> Template:
        """Keep a template. Raises TemplateExists, TargetInvalid."""
        check_template(content, parameters)
        now = self._clock()
        new = Template(
            name=name,
            description=description,
            version=1,
            newest=1,
            is_default=is_default,
            content=content,
            parameters=parameters,
            created_at=now,
            created_by=by,
        )
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await rows.lock(db)
                if await rows.find(db, name) is not None:
                    raise TemplateExists(name=name, hint="PATCH it to make its next version")
                await rows.put(db, new, at=now)
                await self._trail.record(db, by, "template.created", ("template", name), after=new)
        return new

    async def change(
        self, name: str, change: Mapping[str, Any], *, expected_version: int | None, by: str
    ) -> Template:
        """Change what is named; other content or parameters make the next version.

        Raises TemplateUnknown, TemplateChanged, TargetInvalid.
        """
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await rows.lock(db)
                before = await rows.find(db, name)
                if before is None:
                    raise TemplateUnknown(name=name)
                if expected_version not in (None, before.newest):
                    raise TemplateChanged(version=before.newest)
                after = replace(before, **change)
                if (after.content, after.parameters) != (before.content, before.parameters):
                    check_template(after.content, after.parameters)
                    version = before.newest + 1
                    after = replace(after, version=version, newest=version, created_at=now, created_by=by)
                await rows.put(db, after, at=now)
                await self._trail.record(
                    db, by, "template.changed", ("template", name), before=before, after=after
                )
        return after

    async def remove(self, name: str, *, by: str) -> None:
        """Forget a template; devices keep what they have. Raises TemplateUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if not await rows.remove(db, name):
                    raise TemplateUnknown(name=name)
                await self._trail.record(db, by, "template.removed", ("template", name))

    async def find(self, name: str, version: int | None = None) -> Template:
        """Return a template, its newest version unless another is named. Raises TemplateUnknown."""
        with database_errors():
            found = await rows.find(self._pool, name, version)
        if found is None:
            raise TemplateUnknown(name=name, version=version)
        return found

    async def list_all(self, *, after: str, limit: int) -> list[Template]:
        """Return the newest version of each template, by name."""
        with database_errors():
            return await rows.newest(self._pool, after=after, limit=limit)

    async def preview(self, name: str, uuid: str, filling: Filling) -> dict[str, Any]:
        """Return what a device's target would be. Raises TemplateUnknown, DeviceUnknown, TargetInvalid."""
        content = await self._content(name, uuid, filling)
        return _merged(await self._states.standing(uuid), content) if filling.merge else content

    async def apply(
        self,
        name: str,
        uuid: str,
        filling: Filling,
        *,
        deploy: bool,
        expected_version: int | None,
        by: str,
        finish: Finish | None = None,
    ) -> Standing:
        """Let a filled template wait, or put it in force. Raises what `preview` does, TargetTooLarge, TargetChanged.

        `finish` makes of a filled template what is put in force (images by their digests).
        """
        content = await self._content(name, uuid, filling)
        if deploy and finish is not None:
            content = await finish(content)

        def edit(standing: Standing) -> Edited:
            new = _merged(standing, content) if filling.merge else content
            return Edited(draft=None, in_force=new) if deploy else Edited(draft=new)

        return await self._states.edit(
            uuid, edit, by=by, action="template.applied", expected_version=expected_version
        )

    async def _content(self, name: str, uuid: str, filling: Filling) -> dict[str, Any]:
        template = await self.find(name, filling.version)
        with database_errors():
            values = await rows.values_of(self._pool, uuid)
        if values is None:
            raise DeviceUnknown(uuid=uuid)
        return filled(template, replace(values, params=filling.parameters))


class FirstTargets(Protocol):
    """Gives devices their first target (StateService)."""

    async def begin(
        self, db: Database, uuid: str, content: Mapping[str, Any] | None = None, *, by: str = "service"
    ) -> None:
        """Give a device its first target, in the caller's transaction."""
        ...


class TemplatedBeginnings:
    """New devices begin with the default template, if there is one; none is turned away because of it."""

    def __init__(self, states: FirstTargets) -> None:
        self._states = states

    async def begin(self, db: Database, uuid: str) -> None:
        """Give a device its first target, in the caller's transaction."""
        template = await rows.find_default(db)
        values = None if template is None else await rows.values_of(db, uuid)
        if template is not None:
            by = f"template:{template.name}@{template.version}"
            try:
                content = filled(template, values or Values(device={}))
                await self._states.begin(db, uuid, content, by=by)
            except (TargetInvalid, TargetTooLarge) as exc:
                log.warning("template.not_applied", device_uuid=uuid, template=by, reason=exc.message)
            else:
                return
        await self._states.begin(db, uuid)


def _merged(standing: Standing, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what waits (or is in force), with a template's apps and settings in it."""
    base = standing.target.content() if standing.draft is None else standing.draft
    names = [name for name in ("apps", "config", "options") if name in base or name in content]
    return {name: {**base.get(name, {}), **content.get(name, {})} for name in names}
