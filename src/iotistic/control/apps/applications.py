"""The registry of applications: what an app is called, and what it begins with on a device."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import asyncpg

from iotistic.control.apps import rows
from iotistic.control.apps.model import Document, new_app
from iotistic.control.apps.rows import Application
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices.service import utc_now
from iotistic.control.states.model import check_writable, checked
from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.kernel.postgres.pool import database_errors

_SHOWN = 10
_NO_SLUG = re.compile(r"[^a-z0-9]+")


class ApplicationUnknown(NotFound):
    """There is no such application."""

    code = "application.unknown"


class ApplicationExists(Conflict):
    """There is an application of this number or slug already."""

    code = "application.exists"


class ApplicationDeployed(Conflict):
    """The application is in the target of a device."""

    code = "application.deployed"


class SlugInvalid(Invalid):
    """No slug can be made of this name."""

    code = "application.slug_invalid"


class Applications:
    """The use cases."""

    def __init__(
        self, pool: asyncpg.Pool, *, trail: Trail = NO_TRAIL, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._trail, self._clock = pool, trail, clock

    async def create(
        self,
        name: str,
        *,
        app_id: int | None,
        slug: str | None,
        description: str,
        default_config: Mapping[str, Any],
        by: str,
    ) -> Application:
        """Keep an application. Raises ApplicationExists, SlugInvalid, TargetInvalid."""
        _check(default_config)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                new = Application(
                    app_id=app_id or await rows.next_app_id(db),
                    name=name,
                    slug=slug or slug_of(name),
                    description=description,
                    default_config=default_config,
                    created_at=now,
                    updated_at=now,
                )
                if not await rows.add(db, new):
                    raise ApplicationExists(app_id=new.app_id, slug=new.slug)
                await self._trail.record(
                    db, by, "application.created", ("application", new.app_id), after=new
                )
        return new

    async def find(self, app_id: int) -> Application:
        """Return an application. Raises ApplicationUnknown."""
        with database_errors():
            found = await rows.find(self._pool, app_id)
        if found is None:
            raise ApplicationUnknown(app_id=app_id)
        return found

    async def list_all(self, *, after: int, limit: int) -> list[Application]:
        """Return applications by their number."""
        with database_errors():
            return await rows.list_all(self._pool, after=after, limit=limit)

    async def change(self, app_id: int, change: Mapping[str, Any], *, by: str) -> Application:
        """Change what is named. Raises ApplicationUnknown, ApplicationExists, TargetInvalid."""
        if "default_config" in change:
            _check(change["default_config"])
        try:
            with database_errors():
                async with self._pool.acquire() as db, db.transaction():
                    before = await self._locked(db, app_id)
                    after = replace(before, **change, updated_at=self._clock())
                    await rows.put(db, after)
                    about = ("application", app_id)
                    await self._trail.record(db, by, "application.changed", about, before=before, after=after)
        except asyncpg.UniqueViolationError as exc:
            raise ApplicationExists(slug=change.get("slug")) from exc
        return after

    async def remove(self, app_id: int, *, by: str) -> None:
        """Forget an application. Raises ApplicationUnknown, ApplicationDeployed."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                before = await self._locked(db, app_id)
                if devices := await rows.devices_with(db, app_id, _SHOWN):
                    raise ApplicationDeployed(
                        devices=devices, hint="take the app from these devices, and deploy, first"
                    )
                await rows.remove(db, app_id)
                await self._trail.record(
                    db, by, "application.removed", ("application", app_id), before=before
                )

    async def next_app_id(self) -> int:
        """Return a number for an app, given once."""
        with database_errors():
            return await rows.next_app_id(self._pool)

    async def next_service_id(self) -> int:
        """Return a number for a service, given once."""
        with database_errors():
            return (await rows.next_service_ids(self._pool, 1))[0]

    async def _locked(self, db: Any, app_id: int) -> Application:
        found = await rows.find(db, app_id, for_update=True)
        if found is None:
            raise ApplicationUnknown(app_id=app_id)
        return found


def slug_of(name: str) -> str:
    """Return a slug for a name. Raises SlugInvalid."""
    slug = _NO_SLUG.sub("-", name.lower()).strip("-")[:64].strip("-")
    if not slug:
        raise SlugInvalid(hint="give a slug of small letters, digits and dashes")
    return slug


def _check(default_config: Mapping[str, Any]) -> None:
    """Refuse a default that no device could begin with; numbers of services are given later."""
    given = default_config.get("services", [])
    is_list = isinstance(given, list) and all(isinstance(one, dict) for one in cast("list[Any]", given))
    services = cast("list[Document]", given) if is_list else []
    # What is no list of objects is left for the reader to refuse.
    fields = {name: value for name, value in default_config.items() if not is_list or name != "services"}
    app = new_app("1", "app", {}, services, iter(range(1, len(services) + 1)))
    check_writable(checked({"apps": {"1": {**app, **fields}}}))
