"""Apps of one device.

POST   /devices/{uuid}/apps                       an app, with numbers for its services
PATCH  /devices/{uuid}/apps/{app_id}              what changes of it
DELETE /devices/{uuid}/apps/{app_id}
POST   /devices/{uuid}/apps/{app_id}/deploy       only this app's part of what waits
POST   /devices/{uuid}/apps/{app_id}/{action}     start, stop, pause, restart all of its services
POST   /devices/{uuid}/apps/{app_id}/services/{service}/{action}    or one, by its name or id

Each waits until it is deployed; `?deploy=true` does that at once, `?expectedVersion=` refuses when it is another.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import PermissionMissing, requires
from iotistic.control.apps.device_apps import Asked, DeviceApps, LookUp
from iotistic.control.apps.model import Action
from iotistic.control.apps.schemas import (
    AppChange,
    AppStanding,
    DeployNow,
    Expected,
    Identifier,
    Name,
    NewApp,
)
from iotistic.control.devices.visible import visible
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.images.model import pinned
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.states.operator_routes import waiting_pins
from iotistic.control.states.service import StateService

_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_AppId = Annotated[Identifier, Path(description="Of the app, a number or a name.")]
_Resolve = Annotated[
    bool | None, Query(description="Whether tags of images become digests when they are deployed.")
]
_Service = Annotated[Name, Path(description="A service's name, or its id.")]


def device_app_router(
    apps: DeviceApps, states: StateService, images: ImageResolver | None = None
) -> APIRouter:
    """Return the routes; without `images` no tag is looked up."""
    router = APIRouter(prefix="/devices/{uuid}/apps", tags=["device apps"], route_class=DeviceRoute)
    _add_changes(router, apps, images)
    _add_deploying(router, apps, states, images)
    _add_actions(router, apps)
    return router


def _add_changes(router: APIRouter, apps: DeviceApps, images: ImageResolver | None) -> None:
    @router.post("", operation_id="add_device_app", status_code=201)
    async def add(
        uuid: UUID,
        caller: _Writer,
        asked: NewApp,
        deploy: DeployNow = False,
        expected: Expected = None,
        resolve: _Resolve = None,
    ) -> AppStanding:
        """Put an app on a device; services without an id get one."""
        given = {"appName": asked.app_name, "rollingUpdate": asked.rolling_update}
        named = None if asked.app_id is None else str(asked.app_id)
        by = _asked(caller, expected, deploy=deploy, look_up=_looking_up(images, resolve))
        app_id, standing = await apps.add(_seen(caller, uuid), named, given, asked.services, by)
        return AppStanding.of(uuid, app_id, standing)

    @router.patch("/{app_id}", operation_id="change_device_app")
    async def change(
        uuid: UUID,
        app_id: _AppId,
        caller: _Writer,
        asked: AppChange,
        deploy: DeployNow = False,
        expected: Expected = None,
        resolve: _Resolve = None,
    ) -> AppStanding:
        """Change an app; what is not named stays, and services keep their ids by their names."""
        given = {"appName": asked.app_name, "rollingUpdate": asked.rolling_update, "state": asked.state}
        by = _asked(caller, expected, deploy=deploy, look_up=_looking_up(images, resolve))
        standing = await apps.change(_seen(caller, uuid), app_id, given, asked.services, by)
        return AppStanding.of(uuid, app_id, standing)

    @router.delete("/{app_id}", operation_id="remove_device_app")
    async def remove(
        uuid: UUID, app_id: _AppId, caller: _Writer, deploy: DeployNow = False, expected: Expected = None
    ) -> AppStanding:
        """Take an app from a device; its volumes stay, as with every change."""
        asked = _asked(caller, expected, deploy=deploy)
        return AppStanding.of(uuid, app_id, await apps.remove(_seen(caller, uuid), app_id, asked))

    _ = add, change, remove


def _add_deploying(
    router: APIRouter, apps: DeviceApps, states: StateService, images: ImageResolver | None
) -> None:
    @router.post("/{app_id}/deploy", operation_id="deploy_device_app")
    async def deploy_app(
        uuid: UUID,
        app_id: _AppId,
        caller: _Controller,
        expected: Expected = None,
        resolve: _Resolve = None,
    ) -> AppStanding:
        """Put only this app's part of what waits in force; the rest goes on waiting."""
        asked, seen = _asked(caller, expected, deploy=True), _seen(caller, uuid)
        pins = await waiting_pins(states, images, seen, wanted=resolve)
        finish = None if pins is None else partial(pinned, pins=pins.found)
        return AppStanding.of(uuid, app_id, await apps.deploy(seen, app_id, asked, finish))

    _ = deploy_app


def _add_actions(router: APIRouter, apps: DeviceApps) -> None:
    @router.post("/{app_id}/{action}", operation_id="act_on_device_app")
    async def act(
        uuid: UUID,
        app_id: _AppId,
        action: Action,
        caller: _Controller,
        deploy: DeployNow = False,
        expected: Expected = None,
    ) -> AppStanding:
        """Start, stop, pause or restart every service of an app."""
        asked = _asked(caller, expected, deploy=deploy)
        return AppStanding.of(uuid, app_id, await apps.act(_seen(caller, uuid), app_id, None, action, asked))

    @router.post("/{app_id}/services/{service}/{action}", operation_id="act_on_device_service")
    async def act_on_service(
        uuid: UUID,
        app_id: _AppId,
        service: _Service,
        action: Action,
        caller: _Controller,
        deploy: DeployNow = False,
        expected: Expected = None,
    ) -> AppStanding:
        """Start, stop, pause or restart one service; a restart makes its container anew."""
        asked = _asked(caller, expected, deploy=deploy)
        standing = await apps.act(_seen(caller, uuid), app_id, service, action, asked)
        return AppStanding.of(uuid, app_id, standing)

    _ = act, act_on_service


def _seen(caller: Caller, uuid: UUID) -> str:
    return visible(caller, str(uuid))


def _looking_up(images: ImageResolver | None, wanted: bool | None) -> LookUp | None:
    """Return what says which digests tags stand for; None where nobody wants to know."""
    if images is None or not (images.is_usual if wanted is None else wanted):
        return None

    async def look_up(named: Iterable[str]) -> Mapping[str, str]:
        return (await images.pins(named)).found

    return look_up


def _asked(caller: Caller, expected: int | None, *, deploy: bool, look_up: LookUp | None = None) -> Asked:
    """Return who asks for what. To deploy takes more than to change, and a key may have only the one."""
    if deploy and Permission.DEVICE_CONTROL not in caller.permissions:
        raise PermissionMissing(
            hint="leave deploy away, and let somebody deploy who may",
            permission=Permission.DEVICE_CONTROL.value,
        )
    return Asked(by=caller.name, expected_version=expected, deploy=deploy, look_up=look_up)
