"""The people's side of states: what a device should be, what waits, what it was before, what it says it is.

GET    /devices/{uuid}/target-state      the target in force, and what waits
PUT    /devices/{uuid}/target-state      let a target wait; `deploy` puts it in force
DELETE /devices/{uuid}/target-state      let an empty target wait
POST   /devices/{uuid}/deploy            put what waits in force
POST   /devices/{uuid}/deploy/cancel     drop what waits
GET    /devices/{uuid}/target-state/history
POST   /devices/{uuid}/target-state/rollback
GET    /devices/{uuid}/current-state     what the device said last
"""

from datetime import date, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.images.model import Pins, images_of, pinned
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.images.routes import PinsShape
from iotistic.control.states.model import Report, Standing, Target
from iotistic.control.states.service import StateService
from iotistic.kernel.web.describing import Answer, answered, deprecated

_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_READER = [requires(Permission.DEVICE_READ)]
_POST_IS_OLD = deprecated(
    since=date(2026, 11, 1), sunset=date(2027, 11, 1), instead="PUT /devices/{uuid}/target-state"
)


class TargetRequest(BaseModel):
    """What a device should be; `apps` may be a list of apps that carry their `appId`."""

    model_config = ConfigDict(extra="forbid")

    apps: dict[str, Any] | list[dict[str, Any]]
    config: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """Return it as the use case takes it."""
        return self.model_dump(exclude_none=True)


class DeployRequest(BaseModel):
    """What the caller believes to be in force; empty: whatever it is."""

    expected_version: int | None = Field(default=None, ge=1)
    resolve: bool | None = Field(
        default=None,
        description="Whether tags of images become digests, as far as registries say; without it, as the server is set.",
    )


class RollbackRequest(BaseModel):
    """Which version to go back to."""

    version: int = Field(ge=1)


class TargetState(BaseModel):
    """A target in force, and what waits."""

    uuid: UUID
    version: int
    etag: str
    apps: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any] | None = None
    needs_deployment: bool
    last_deployed_at: datetime
    deployed_by: str
    draft: dict[str, Any] | None = None
    drafted_at: datetime | None = None
    drafted_by: str | None = None

    @classmethod
    def of(cls, uuid: UUID, standing: Standing) -> "TargetState":
        """Show a standing."""
        target = standing.target
        return cls(
            uuid=uuid,
            version=target.version,
            etag=target.etag,
            **target.content(),
            needs_deployment=standing.needs_deployment,
            last_deployed_at=target.deployed_at,
            deployed_by=target.deployed_by,
            draft=standing.draft,
            drafted_at=standing.drafted_at,
            drafted_by=standing.drafted_by,
        )


class TargetVersion(BaseModel):
    """One target that a device has or had."""

    version: int
    etag: str
    apps: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any] | None = None
    deployed_at: datetime
    deployed_by: str

    @classmethod
    def of(cls, target: Target) -> "TargetVersion":
        """Show a target."""
        return cls(
            version=target.version,
            etag=target.etag,
            **target.content(),
            deployed_at=target.deployed_at,
            deployed_by=target.deployed_by,
        )


class TargetVersions(Answer):
    """The targets that a device had, the newest first."""

    items: list[TargetVersion]


class DeployedTarget(TargetVersion):
    """What was deployed; `images` tells what became of tags, when they were looked up."""

    images: PinsShape | None = None

    @classmethod
    def with_pins(cls, target: Target, pins: Pins | None) -> "DeployedTarget":
        """Show a target that was deployed."""
        shown = TargetVersion.of(target).model_dump()
        return cls(**shown, images=None if pins is None else PinsShape.of(pins))


class CurrentState(BaseModel):
    """Everything that a device said of itself, each field as it said it last."""

    uuid: UUID
    reported_at: datetime
    state: dict[str, Any]

    @classmethod
    def of(cls, uuid: UUID, report: Report) -> "CurrentState":
        """Show a report."""
        return cls(uuid=uuid, reported_at=report.reported_at, state=report.fields)


def target_router(states: StateService, images: ImageResolver | None = None) -> APIRouter:
    """Return the routes below /devices/{uuid}; without `images` no tag is looked up."""
    router = APIRouter(prefix="/devices/{uuid}", tags=["device state"], route_class=DeviceRoute)
    _add_targets(router, states)
    _add_deployment(router, states, images)

    @router.get("/current-state", operation_id="get_current_state", dependencies=_READER)
    async def current(uuid: UUID) -> CurrentState:
        """What the device said last; 404 before its first report."""
        return CurrentState.of(uuid, await states.current(str(uuid)))

    _ = current
    return router


def _add_targets(router: APIRouter, states: StateService) -> None:
    @router.get("/target-state", operation_id="get_target_state", dependencies=_READER)
    async def get_target(uuid: UUID) -> TargetState:
        """The target in force, and what waits to be deployed."""
        return TargetState.of(uuid, await states.standing(str(uuid)))

    @router.put("/target-state", operation_id="set_target_state")
    @router.post("/target-state", operation_id="replace_target_state", **_POST_IS_OLD)
    async def set_target(uuid: UUID, asked: TargetRequest, caller: _Writer) -> TargetState:
        """Let a target wait; every fault is named, and nothing changes on the device until it is deployed."""
        return TargetState.of(uuid, await states.set_target(str(uuid), asked.content(), by=caller.name))

    @router.delete("/target-state", operation_id="clear_target_state")
    async def clear_target(uuid: UUID, caller: _Writer) -> TargetState:
        """Let an empty target wait: deployed, it takes every app from the device."""
        empty: dict[str, dict[str, object]] = {"apps": {}, "config": {}}
        return TargetState.of(uuid, await states.set_target(str(uuid), empty, by=caller.name))

    @router.get(
        "/target-state/history",
        operation_id="list_target_versions",
        dependencies=_READER,
        responses=answered(TargetVersions),
    )
    async def history(
        uuid: UUID, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> dict[str, list[TargetVersion]]:
        """The targets that the device had, the newest first."""
        await states.standing(str(uuid))
        return {"items": [TargetVersion.of(one) for one in await states.history(str(uuid), limit=limit)]}

    @router.post("/target-state/rollback", operation_id="roll_back_target_state")
    async def roll_back(uuid: UUID, asked: RollbackRequest, caller: _Controller) -> TargetVersion:
        """Put the content of an older version in force, as the next version."""
        return TargetVersion.of(await states.roll_back(str(uuid), asked.version, by=caller.name))

    _ = get_target, set_target, clear_target, history, roll_back


def _add_deployment(router: APIRouter, states: StateService, images: ImageResolver | None) -> None:
    @router.post("/deploy", operation_id="deploy_target_state")
    async def deploy(
        uuid: UUID, caller: _Controller, asked: Annotated[DeployRequest | None, Body()] = None
    ) -> DeployedTarget:
        """Put what waits in force as the next version."""
        asked = asked or DeployRequest()
        pins = await waiting_pins(states, images, str(uuid), wanted=asked.resolve)
        target = await states.deploy(
            str(uuid),
            by=caller.name,
            expected_version=asked.expected_version,
            finish=None if pins is None else partial(pinned, pins=pins.found),
        )
        return DeployedTarget.with_pins(target, pins)

    @router.post("/deploy/cancel", operation_id="cancel_deployment")
    async def cancel(uuid: UUID, caller: _Controller) -> TargetState:
        """Drop what waits."""
        return TargetState.of(uuid, await states.cancel(str(uuid), by=caller.name))

    _ = deploy, cancel


async def waiting_pins(
    states: StateService, images: ImageResolver | None, uuid: str, *, wanted: bool | None
) -> Pins | None:
    """Look up the images of what waits; None when nobody wants that. No transaction is open meanwhile."""
    if images is None or not (images.is_usual if wanted is None else wanted):
        return None
    draft = (await states.standing(uuid)).draft
    return await images.pins(images_of(draft)) if draft is not None else None
