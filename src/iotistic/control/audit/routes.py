"""/events: what happened; /audit: who did what. Both read only.

Events of devices need `device:read`. Entries that are about no device, and addresses of people, are shown to those who
may change settings: owners, admins, managers, and keys that are given it.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Path, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.audit import repository
from iotistic.control.audit.schemas import (
    AggregateParameters,
    ChangeRow,
    CompareAnswer,
    Counts,
    DeviceEventsParameters,
    EventPage,
    HeadAnswer,
    Moment,
    Period,
    ReplayAnswer,
    SearchParameters,
    SnapshotAnswer,
    TwoMoments,
)
from iotistic.control.audit.stream import EventStream, View, Wanted
from iotistic.kernel.postgres.pool import database_errors

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Auditor = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]
_DaysBack = Annotated[int, Query(alias="daysBack", ge=1, le=366)]
_Limit = Annotated[int, Query(ge=1, le=500)]


def _view(caller: Caller) -> View:
    return View(caller.scope, Permission.SETTINGS_WRITE in caller.permissions)


def audit_router(stream: EventStream, pool: asyncpg.Pool) -> APIRouter:
    """Return the routes below /audit."""
    router = APIRouter(prefix="/audit", tags=["audit"])

    @router.get("/logs", operation_id="list_audit_logs")
    async def logs(caller: _Auditor, asked: SearchParameters) -> EventPage:
        """Entries of the audit trail, the newest first."""
        rows = await stream.search(
            _view(caller), asked.wanted("audit"), limit=asked.limit, offset=asked.offset
        )
        return EventPage.of(rows)

    @router.get("/head", operation_id="get_audit_head")
    async def head(_caller: _Auditor) -> HeadAnswer:
        """The end of the chain; kept elsewhere, it lets `iotistic audit verify --anchor` notice a cut."""
        with database_errors():
            return HeadAnswer.of(await repository.head(pool))

    _ = logs, head
    return router


def event_router(stream: EventStream) -> APIRouter:
    """Return the routes below /events."""
    router = APIRouter(prefix="/events", tags=["events"])
    router.include_router(_all_events(stream))
    router.include_router(_device_events(stream))
    router.include_router(_time_travel(stream))
    return router


def _all_events(stream: EventStream) -> APIRouter:
    router = APIRouter()

    @router.get("/search", operation_id="search_events")
    async def search(caller: _Reader, asked: SearchParameters) -> EventPage:
        """What fits, the newest first."""
        rows = await stream.search(_view(caller), asked.wanted(), limit=asked.limit, offset=asked.offset)
        return EventPage.of(rows)

    @router.get("/recent", operation_id="list_recent_events")
    async def recent(caller: _Reader, limit: _Limit = 50) -> EventPage:
        """The newest."""
        return EventPage.of(await stream.search(_view(caller), Wanted(), limit=limit))

    @router.get("/stats", operation_id="get_event_stats")
    async def stats(caller: _Reader, days_back: _DaysBack = 7) -> Counts:
        """How many of each kind, severity and source."""
        wanted = Wanted(start=datetime.now(UTC) - timedelta(days=days_back))
        rows = await stream.counts(_view(caller), wanted, by=("event_type", "severity", "source"))
        return Counts.of(rows)

    @router.get("/chain/{correlation_id}", operation_id="get_event_chain")
    async def chain(
        caller: _Reader, correlation_id: Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    ) -> EventPage:
        """Everything that one request led to, in order."""
        wanted = Wanted(correlation_id=correlation_id)
        return EventPage.of(await stream.search(_view(caller), wanted, limit=500, oldest_first=True))

    _ = search, recent, stats, chain
    return router


def _device_events(stream: EventStream) -> APIRouter:
    router = APIRouter(prefix="/device/{uuid}")

    @router.get("", operation_id="list_device_events")
    async def of_device(uuid: UUID, caller: _Reader, asked: DeviceEventsParameters) -> EventPage:
        """Events of a device: the newest first, or with `sinceEventId` those after it in order."""
        caller.scope.require(uuid)
        kinds = [asked.event_type] if asked.event_type else []
        wanted = Wanted(device=uuid, kinds=kinds, after_id=asked.since_event_id)
        follows = asked.since_event_id is not None
        return EventPage.of(
            await stream.search(_view(caller), wanted, limit=asked.limit, oldest_first=follows)
        )

    @router.get("/timeline", operation_id="get_device_timeline")
    async def timeline(uuid: UUID, caller: _Reader, limit: _Limit = 100) -> EventPage:
        """The newest events of a device."""
        caller.scope.require(uuid)
        return EventPage.of(await stream.search(_view(caller), Wanted(device=uuid), limit=limit))

    @router.get("/aggregate", operation_id="count_device_events_over_time")
    async def aggregate(uuid: UUID, caller: _Reader, asked: AggregateParameters) -> Counts:
        """How many events of each kind, over time."""
        caller.scope.require(uuid)
        wanted = Wanted(device=uuid, start=asked.date_from, end=asked.date_to)
        return Counts.of(
            await stream.counts(_view(caller), wanted, by=("event_type",), bucket=asked.period.length)
        )

    @router.get("/summary", operation_id="get_device_event_summary")
    async def summary(uuid: UUID, caller: _Reader, days_back: _DaysBack = 7) -> Counts:
        """How many events of each kind."""
        caller.scope.require(uuid)
        wanted = Wanted(device=uuid, start=datetime.now(UTC) - timedelta(days=days_back))
        return Counts.of(await stream.counts(_view(caller), wanted, by=("event_type", "severity")))

    _ = of_device, timeline, aggregate, summary
    return router


def _time_travel(stream: EventStream) -> APIRouter:
    router = APIRouter(prefix="/device/{uuid}")

    @router.post("/replay", operation_id="replay_device_events")
    async def replay(uuid: UUID, caller: _Reader, asked: Period) -> ReplayAnswer:
        """Go through a stretch of a device's life; changes nothing."""
        return ReplayAnswer.of(await stream.replay(_view(caller), uuid, asked.from_time, asked.to_time))

    @router.post("/snapshot", operation_id="get_device_snapshot")
    async def snapshot(uuid: UUID, caller: _Reader, asked: Moment) -> SnapshotAnswer:
        """The state of a device at a time."""
        state = await stream.snapshot(_view(caller), uuid, asked.timestamp)
        return SnapshotAnswer.of(asked.timestamp, state)

    @router.post("/compare", operation_id="compare_device_snapshots")
    async def compare(uuid: UUID, caller: _Reader, asked: TwoMoments) -> CompareAnswer:
        """The states of a device at two times, and what differs."""
        one, other, changes = await stream.compare(_view(caller), uuid, asked.time1, asked.time2)
        snapshots: list[Any] = [SnapshotAnswer.of(asked.time1, one), SnapshotAnswer.of(asked.time2, other)]
        return CompareAnswer(snapshots=snapshots, changes=[ChangeRow.of(change) for change in changes])

    _ = replay, snapshot, compare
    return router
