"""/rollouts: what a change would do, and doing it in waves.

Looking needs device:read; beginning and resuming device:write; holding up, ending and taking back device:control,
which operators have: whoever is awake may stop it.
"""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.rollouts.changes import Change, named_images, with_digests
from iotistic.control.rollouts.model import PartState, RolloutState
from iotistic.control.rollouts.schemas import (
    EventPage,
    EventRow,
    PartPage,
    PartRow,
    PreviewRequest,
    PreviewResponse,
    RolloutDetail,
    RolloutPage,
    RolloutRequest,
    RolloutRow,
)
from iotistic.control.rollouts.service import RolloutService

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Controller = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_MOST_ROWS, _MOST_EVENTS = 500, 1000
_Limit = Annotated[int, Query(ge=1, le=_MOST_ROWS)]


def rollout_router(rollouts: RolloutService, images: ImageResolver | None = None) -> APIRouter:
    """Return the routes below /rollouts; without `images` no tag is looked up."""
    router = APIRouter(prefix="/rollouts", tags=["rollouts"])
    _add_making(router, rollouts, images)
    _add_looking(router, rollouts)
    _add_steering(router, rollouts)
    return router


async def _settled(asked: PreviewRequest, images: ImageResolver | None) -> Change:
    """Return the change with digests for the tags in it, where that is wanted: all devices get the same image."""
    pins = await images.look_up(named_images(asked.change), wanted=asked.resolve) if images else None
    return asked.change if pins is None else with_digests(asked.change, pins.found)


def _add_making(router: APIRouter, rollouts: RolloutService, images: ImageResolver | None) -> None:
    @router.post("/preview")
    async def preview_rollout(asked: PreviewRequest, caller: _Reader) -> PreviewResponse:
        """Each device's steps, downtime and bytes to fetch, and who would refuse and why; nothing is changed."""
        change = await _settled(asked, images)
        return PreviewResponse.of(await rollouts.preview(change, asked.selection, scope=caller.scope))

    @router.post("", status_code=201)
    async def create_rollout(asked: RolloutRequest, caller: _Writer) -> RolloutDetail:
        """Make a rollout; it takes its devices from older ones, and begins at once if its policy lets it."""
        settled = replace(asked.asked(), change=await _settled(asked, images))
        made = await rollouts.create(settled, by=caller.name, scope=caller.scope)
        return RolloutDetail.of(*await rollouts.find(made.id))

    _ = preview_rollout, create_rollout


def _add_looking(router: APIRouter, rollouts: RolloutService) -> None:
    @router.get("", dependencies=[requires(Permission.DEVICE_READ)])
    async def list_rollouts(
        state: Annotated[list[RolloutState] | None, Query()] = None,
        cursor: UUID | None = None,
        limit: _Limit = 50,
    ) -> RolloutPage:
        """Rollouts, the newest first."""
        found, counts = await rollouts.newest(states=state or [], cursor=cursor, limit=limit + 1)
        items = [RolloutRow.of(one, counts[one.id]) for one in found[:limit]]
        return RolloutPage(items=items, next_cursor=items[-1].id if len(found) > limit else None)

    @router.get("/{rollout_id}", dependencies=[requires(Permission.DEVICE_READ)])
    async def show_rollout(rollout_id: UUID) -> RolloutDetail:
        """One rollout."""
        return RolloutDetail.of(*await rollouts.find(rollout_id))

    @router.get("/{rollout_id}/parts", dependencies=[requires(Permission.DEVICE_READ)])
    async def list_parts(
        rollout_id: UUID,
        state: Annotated[list[PartState] | None, Query()] = None,
        cursor: UUID | None = None,
        limit: _Limit = 100,
    ) -> PartPage:
        """Its devices: how far they are, what was predicted, what it took."""
        found = await rollouts.parts(rollout_id, states=state or [], after=cursor, limit=limit + 1)
        items = [PartRow.of(part, name) for part, name in found[:limit]]
        return PartPage(items=items, next_cursor=items[-1].device_uuid if len(found) > limit else None)

    @router.get("/{rollout_id}/events", dependencies=[requires(Permission.DEVICE_READ)])
    async def list_events(
        rollout_id: UUID,
        cursor: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = 200,
    ) -> EventPage:
        """What happened, the oldest first; ask again with `nextCursor` for what came since."""
        items = [EventRow.of(one) for one in await rollouts.events(rollout_id, after=cursor, limit=limit)]
        return EventPage(items=items, next_cursor=items[-1].id if items else cursor)

    _ = list_rollouts, show_rollout, list_parts, list_events


def _add_steering(router: APIRouter, rollouts: RolloutService) -> None:
    @router.post("/{rollout_id}/pause")
    async def pause_rollout(rollout_id: UUID, caller: _Controller) -> RolloutDetail:
        """Let no further device begin; those that have begun are followed to their end."""
        await rollouts.pause(rollout_id, by=caller.name)
        return RolloutDetail.of(*await rollouts.find(rollout_id))

    @router.post("/{rollout_id}/resume")
    async def resume_rollout(rollout_id: UUID, caller: _Writer) -> RolloutDetail:
        """Go on after a pause or a halt; the failures until now do not count any more."""
        await rollouts.resume(rollout_id, by=caller.name)
        return RolloutDetail.of(*await rollouts.find(rollout_id))

    @router.post("/{rollout_id}/cancel")
    async def cancel_rollout(rollout_id: UUID, caller: _Controller) -> RolloutDetail:
        """Give up on the devices that wait; the others keep what they have."""
        await rollouts.cancel(rollout_id, by=caller.name)
        return RolloutDetail.of(*await rollouts.find(rollout_id))

    @router.post("/{rollout_id}/rollback")
    async def roll_back_rollout(rollout_id: UUID, caller: _Controller) -> RolloutDetail:
        """Give each device that has the new target the one that it had before."""
        await rollouts.roll_back(rollout_id, by=caller.name)
        return RolloutDetail.of(*await rollouts.find(rollout_id))

    _ = pause_rollout, resume_rollout, cancel_rollout, roll_back_rollout
