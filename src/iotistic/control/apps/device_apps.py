"""The use cases around one app of one device.

A change waits beside what is in force, like any target. With `deploy`, only this app's part goes into force; what else
waits goes on waiting. Actions (stop a service) with `deploy` are done to what is in force, and to what waits as well:
they put nothing in force that somebody has only drafted.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg

from iotistic.control.apps import rows
from iotistic.control.apps.model import (
    Action,
    AppExists,
    AppUnknown,
    Document,
    ServiceIdTaken,
    ServiceUnknown,
    acted,
    app_of,
    changed_app,
    new_app,
    with_app,
)
from iotistic.control.devices.service import utc_now
from iotistic.control.images.model import images_of, pinned
from iotistic.control.states.model import NothingToDeploy, Standing
from iotistic.control.states.service import Edit, Edited, StateService
from iotistic.kernel.postgres.pool import database_errors

_TRIES = 5

Finish = Callable[[Document], Document]
LookUp = Callable[[Iterable[str]], Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who asks for a change, what is believed to be in force, and whether it is to be deployed at once."""

    by: str
    expected_version: int | None = None
    deploy: bool = False
    look_up: LookUp | None = None
    """Says what tags stand for, where they are to become digests when they are deployed."""


class DeviceApps:
    """Apps of devices."""

    def __init__(
        self, pool: asyncpg.Pool, states: StateService, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._states, self._clock = pool, states, clock

    async def add(
        self,
        uuid: str,
        app_id: str | None,
        given: Mapping[str, Any],
        services: list[Document] | None,
        asked: Asked,
    ) -> tuple[str, Standing]:
        """Put an app on a device; without an id it gets the next number. Returns its id and what stands then.

        Without services it begins as the application of this number says. Raises AppExists, TargetInvalid with each
        fault by its path, TargetTooLarge, TargetChanged, DeviceUnknown, ServicesInvalid.
        """
        with database_errors():
            named = app_id or str(await rows.next_app_id(self._pool))
            known = await rows.find_by_text(self._pool, named)
        fields, wanted = dict(given), services
        if known is not None:
            fields = {**known.default_config, **{k: v for k, v in fields.items() if v is not None}}
            fields.setdefault("appName", known.slug)
        begun = fields.pop("services", [])
        wanted = begun if wanted is None else wanted
        name = str(fields.pop("appName", None) or named)

        finish = await _finish(asked, {"apps": {named: {"services": wanted}}})

        def adding(ids: Iterator[int]) -> Edit:
            app = new_app(named, name, fields, wanted, ids)

            def edit(standing: Standing) -> Edited:
                waiting = _waiting(standing)
                if named in waiting["apps"]:
                    raise AppExists(app_id=named, hint="PATCH it instead")
                return _one_app(
                    standing, with_app(waiting, named, app), named, deploy=asked.deploy, finish=finish
                )

            return edit

        return named, await self._numbering(uuid, adding, len(wanted), asked, "app.added")

    async def change(
        self,
        uuid: str,
        app_id: str,
        change: Mapping[str, Any],
        services: list[Document] | None,
        asked: Asked,
    ) -> Standing:
        """Change an app as it waits, or as it is in force. Raises AppUnknown, and what `add` raises."""
        finish = None
        if asked.deploy and asked.look_up is not None:
            there = _waiting(await self._states.standing(uuid))["apps"].get(app_id, {})
            named = {"there": there, "new": {"services": services or []}}
            finish = await _finish(asked, {"apps": named})

        def changing(ids: Iterator[int]) -> Edit:
            def edit(standing: Standing) -> Edited:
                waiting = _waiting(standing)
                app = changed_app(app_of(waiting, app_id), change, services, ids)
                return _one_app(
                    standing, with_app(waiting, app_id, app), app_id, deploy=asked.deploy, finish=finish
                )

            return edit

        return await self._numbering(uuid, changing, len(services or []), asked, "app.changed")

    async def remove(self, uuid: str, app_id: str, asked: Asked) -> Standing:
        """Take an app from a device. Raises AppUnknown, TargetChanged, DeviceUnknown."""

        def edit(standing: Standing) -> Edited:
            waiting = _waiting(standing)
            app_of(waiting, app_id)
            return _one_app(standing, with_app(waiting, app_id, None), app_id, deploy=asked.deploy)

        return await self._edit(uuid, edit, asked, "app.removed")

    async def deploy(self, uuid: str, app_id: str, asked: Asked, finish: Finish | None = None) -> Standing:
        """Put this app's part of what waits in force. Raises NothingToDeploy, TargetChanged, DeviceUnknown."""

        def edit(standing: Standing) -> Edited:
            version = standing.target.version
            if standing.draft is None:
                raise NothingToDeploy(hint="change the app first", version=version)
            content, draft = standing.target.content(), standing.draft
            if content["apps"].get(app_id) == draft["apps"].get(app_id):
                raise NothingToDeploy(hint="nothing of this app waits", version=version, app_id=app_id)
            finished = finish(draft) if finish else draft
            draft = with_app(draft, app_id, finished["apps"].get(app_id))
            return _one_app(standing, draft, app_id, deploy=True)

        return await self._edit(uuid, edit, asked, "app.deployed")

    async def act(
        self, uuid: str, app_id: str, service: str | None, action: Action, asked: Asked
    ) -> Standing:
        """Start, stop, pause or restart a service, or all of an app. Raises AppUnknown, ServiceUnknown, TargetChanged."""
        at = self._clock()

        def edit(standing: Standing) -> Edited:
            if not asked.deploy:
                return Edited(draft=_acting(_waiting(standing), app_id, service, action, at))
            # Whatever waits of this app is left as it is, but for the action.
            draft = standing.draft
            if draft is not None and _has(draft, app_id, service, action, at):
                draft = _acting(draft, app_id, service, action, at)
            return Edited(
                draft=draft, in_force=_acting(standing.target.content(), app_id, service, action, at)
            )

        return await self._edit(uuid, edit, asked, f"app.{action.value}_asked")

    async def _numbering(
        self, uuid: str, make: Callable[[Iterator[int]], Edit], most: int, asked: Asked, action: str
    ) -> Standing:
        """Edit with numbers for new services; others may have numbered by hand, so another few are tried."""
        for left in reversed(range(_TRIES)):
            with database_errors():
                ids = await rows.next_service_ids(self._pool, most)
            try:
                return await self._edit(uuid, make(iter(ids)), asked, action)
            except ServiceIdTaken:
                if not left:
                    raise
        raise AssertionError

    async def _edit(self, uuid: str, edit: Edit, asked: Asked, action: str) -> Standing:
        return await self._states.edit(
            uuid, edit, by=asked.by, action=action, expected_version=asked.expected_version
        )


def _waiting(standing: Standing) -> Document:
    """Return what a change is made to: what waits, or what is in force when nothing does."""
    return standing.target.content() if standing.draft is None else standing.draft


async def _finish(asked: Asked, content: Document) -> Finish | None:
    """Return what puts digests in the place of tags; None where nobody wants that. No transaction is open meanwhile."""
    if not asked.deploy or asked.look_up is None:
        return None
    return partial(pinned, pins=await asked.look_up(images_of(content)))


def _one_app(
    standing: Standing, draft: Document, app_id: str, *, deploy: bool, finish: Finish | None = None
) -> Edited:
    """Let a draft wait; or put one app of it in force, and let the rest wait if there is any."""
    if not deploy:
        return Edited(draft=draft)
    app = draft["apps"].get(app_id)
    if finish is not None and app is not None:
        draft = with_app(draft, app_id, finish({"apps": {app_id: app}})["apps"][app_id])
    in_force = with_app(standing.target.content(), app_id, draft["apps"].get(app_id))
    is_rest = standing.draft is not None and draft != in_force
    return Edited(draft=draft if is_rest else None, in_force=in_force)


def _acting(content: Document, app_id: str, service: str | None, action: Action, at: datetime) -> Document:
    return with_app(content, app_id, acted(app_of(content, app_id), action, service, at))


def _has(content: Document, app_id: str, service: str | None, action: Action, at: datetime) -> bool:
    try:
        acted(app_of(content, app_id), action, service, at)
    except (AppUnknown, ServiceUnknown):
        return False
    return True
