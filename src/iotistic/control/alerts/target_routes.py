"""/alerts/targets and /alerts/deliveries: whom alerts are told, and what became of the messages."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.alerts.paging import read_cursor, write_cursor
from iotistic.control.alerts.schemas import (
    DeliveryPage,
    DeliveryRow,
    TargetRequest,
    TargetRow,
    TargetWithSecret,
)
from iotistic.control.alerts.targets import TargetService

_reads, _writes = [requires(Permission.SETTINGS_READ)], [requires(Permission.SETTINGS_WRITE)]
_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]


def alert_target_router(targets: TargetService) -> APIRouter:
    """Return the routes; they come before those of single alerts."""
    router = APIRouter(prefix="/alerts", tags=["alert targets"])
    _add_targets(router, targets)
    _add_deliveries(router, targets)
    return router


def _add_targets(router: APIRouter, targets: TargetService) -> None:
    @router.get("/targets", operation_id="list_alert_targets", dependencies=_reads)
    async def list_targets() -> list[TargetRow]:
        """Every target, by name, without secrets."""
        return [TargetRow.of(one) for one in await targets.list_all()]

    @router.post("/targets", operation_id="create_alert_target", status_code=201)
    async def create_target(asked: TargetRequest, caller: _Writer) -> TargetWithSecret:
        """Make a target; the secret of a webhook is in this answer and nowhere else."""
        channel = asked.channel.model_dump()
        made, secret = await targets.create(asked.name, channel, asked.least_severity, by=caller.name)
        return TargetWithSecret.of(made, secret=secret)

    @router.get("/targets/{target_id}", operation_id="get_alert_target", dependencies=_reads)
    async def find_target(target_id: UUID) -> TargetRow:
        """One target."""
        return TargetRow.of(await targets.find(target_id))

    @router.put("/targets/{target_id}", operation_id="change_alert_target", dependencies=_writes)
    async def change_target(target_id: UUID, asked: TargetRequest) -> TargetRow:
        """Replace a target; it is trusted again at once."""
        changed = await targets.change(
            target_id,
            asked.name,
            asked.channel.model_dump(),
            asked.least_severity,
            is_enabled=asked.is_enabled,
        )
        return TargetRow.of(changed)

    @router.delete(
        "/targets/{target_id}", operation_id="delete_alert_target", status_code=204, dependencies=_writes
    )
    async def delete_target(target_id: UUID) -> None:
        """Remove a target with its messages; rules lose it."""
        await targets.remove(target_id)

    @router.post(
        "/targets/{target_id}/rotate-secret", operation_id="rotate_alert_secret", dependencies=_writes
    )
    async def rotate_secret(target_id: UUID) -> TargetWithSecret:
        """Give a webhook its next secret; for a while messages are signed with both."""
        target, secret = await targets.rotate_secret(target_id)
        return TargetWithSecret.of(target, secret=secret)

    @router.post("/targets/{target_id}/test", operation_id="test_alert_target", dependencies=_writes)
    async def test_target(target_id: UUID) -> DeliveryRow:
        """Send a test message now; `state` says whether it was taken, `lastFault` why not."""
        return DeliveryRow.of(await targets.test(target_id))

    _ = list_targets, create_target, find_target, change_target, delete_target, rotate_secret, test_target


def _add_deliveries(router: APIRouter, targets: TargetService) -> None:
    @router.get("/deliveries", operation_id="list_alert_deliveries", dependencies=_reads)
    async def list_deliveries(
        state: Literal["waiting", "delivered", "dead"] | None = None,
        target_id: Annotated[UUID | None, Query(alias="targetId")] = None,
        before: Annotated[str | None, Query(max_length=80)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> DeliveryPage:
        """Messages, the newest first; `state=dead` are those that were given up."""
        found = await targets.deliveries(
            state=state, target_id=target_id, before=read_cursor(before), limit=limit
        )
        following = write_cursor(found[-1].created_at, found[-1].id) if len(found) == limit else None
        return DeliveryPage(items=[DeliveryRow.of(one) for one in found], next=following)

    @router.get("/deliveries/{delivery_id}", operation_id="get_alert_delivery", dependencies=_reads)
    async def find_delivery(delivery_id: UUID) -> DeliveryRow:
        """One message."""
        return DeliveryRow.of(await targets.delivery(delivery_id))

    @router.post(
        "/deliveries/{delivery_id}/replay", operation_id="replay_alert_delivery", dependencies=_writes
    )
    async def replay(delivery_id: UUID) -> DeliveryRow:
        """Send a message again that was given up or delivered; its id stays, so receivers know it."""
        return DeliveryRow.of(await targets.replay(delivery_id))

    _ = list_deliveries, find_delivery, replay
