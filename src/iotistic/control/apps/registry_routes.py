"""/applications, and the numbers of apps and services."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.apps.applications import Applications
from iotistic.control.apps.schemas import (
    AppIdAnswer,
    AppIdRequest,
    ApplicationChange,
    ApplicationPage,
    ApplicationShape,
    NewApplication,
    ServiceIdAnswer,
    ServiceIdRequest,
)

_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_READER = [requires(Permission.DEVICE_READ)]
_WRITER = [requires(Permission.DEVICE_WRITE)]
_AppId = Annotated[int, Path(ge=1, lt=2**63)]


def application_router(applications: Applications) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["applications"])

    @router.get("/applications", operation_id="list_applications", dependencies=_READER)
    async def list_all(
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100
    ) -> ApplicationPage:
        """Applications by their number."""
        found = await applications.list_all(after=after, limit=limit + 1)
        rest = found[limit - 1].app_id if len(found) > limit else None
        return ApplicationPage(items=[ApplicationShape.of(one) for one in found[:limit]], next_after=rest)

    @router.post("/applications", operation_id="create_application", status_code=201)
    async def create(caller: _Writer, asked: NewApplication) -> ApplicationShape:
        """Keep an application; without a number it gets the next."""
        made = await applications.create(
            asked.app_name,
            app_id=asked.app_id,
            slug=asked.slug,
            description=asked.description,
            default_config=asked.default_config,
            by=caller.name,
        )
        return ApplicationShape.of(made)

    @router.get("/applications/{app_id}", operation_id="get_application", dependencies=_READER)
    async def find(app_id: _AppId) -> ApplicationShape:
        """One application."""
        return ApplicationShape.of(await applications.find(app_id))

    @router.patch("/applications/{app_id}", operation_id="change_application")
    async def change(app_id: _AppId, caller: _Writer, asked: ApplicationChange) -> ApplicationShape:
        """Change what is named; devices keep what they have."""
        return ApplicationShape.of(await applications.change(app_id, asked.named(), by=caller.name))

    @router.delete("/applications/{app_id}", operation_id="remove_application", status_code=204)
    async def remove(app_id: _AppId, caller: _Writer) -> None:
        """Forget an application; 409 while a device's target, or what waits to be it, has it."""
        await applications.remove(app_id, by=caller.name)

    @router.post("/apps/next-id", operation_id="next_app_id", dependencies=_WRITER)
    async def next_app(asked: AppIdRequest | None = None) -> AppIdAnswer:
        """A number for an app, given once."""
        del asked
        return AppIdAnswer(app_id=await applications.next_app_id())

    @router.post("/services/next-id", operation_id="next_service_id", dependencies=_WRITER)
    async def next_service(asked: ServiceIdRequest | None = None) -> ServiceIdAnswer:
        """A number for a service, given once."""
        del asked
        return ServiceIdAnswer(service_id=await applications.next_service_id())

    _ = list_all, create, find, change, remove, next_app, next_service
    return router
