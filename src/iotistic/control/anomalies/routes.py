"""/anomalies: what agents and the watch over stored readings found. Whoever reads data reads them.

GET  /anomalies                  those that began last first
GET  /anomalies/counts           by metric, severity, origin and verdict
GET  /anomalies/watch           how the watch over stored readings stands
GET  /anomalies/watch/series    what it watches: learning or watching
GET  /anomalies/{id}
POST /anomalies/{id}/feedback    expected or wrong
"""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.anomalies.model import Origin
from iotistic.control.anomalies.paging import read_cursor, read_series_cursor, write_cursor
from iotistic.control.anomalies.repository import Wanted
from iotistic.control.anomalies.schemas import (
    AnomalyPage,
    AnomalyRow,
    Count,
    Feedback,
    Moment,
    SeriesPage,
    SeriesRow,
    StreamStatus,
)
from iotistic.control.anomalies.service import AnomalyService
from iotistic.detection.events import Severity
from iotistic.detection.feedback import Verdict

_Reader = Annotated[Caller, requires(Permission.DATA_READ)]
_Attendant = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_Device = Annotated[UUID | None, Query(alias="deviceUuid")]
_Text = Annotated[str | None, Query(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
_Cursor = Annotated[str | None, Query(max_length=80)]
_Limit = Annotated[int, Query(ge=1, le=500)]
_Days = Annotated[int, Query(ge=1, le=3660, description="Those that began in so many days.")]


def anomaly_router(anomalies: AnomalyService) -> APIRouter:
    """Return the routes below /anomalies."""
    router = APIRouter(prefix="/anomalies", tags=["anomalies"])
    _add_list(router, anomalies)
    _add_stream(router, anomalies)
    # Those with an id come last: any word is an id until it is found to be none.
    _add_single(router, anomalies)
    return router


def _add_list(router: APIRouter, anomalies: AnomalyService) -> None:
    @router.get("", operation_id="list_anomalies")
    async def list_anomalies(
        caller: _Reader,
        device_uuid: _Device = None,
        fleet: _Text = None,
        metric: _Text = None,
        severity: Annotated[Severity | None, Query(description="As severe as this, or more.")] = None,
        origin: Origin | None = None,
        verdict: Literal["none", "expected", "wrong"] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        before: _Cursor = None,
        limit: _Limit = 100,
    ) -> AnomalyPage:
        """Anomalies, those that began last first."""
        wanted = Wanted(
            device_uuid=device_uuid,
            fleet=fleet,
            metric=metric,
            severities=severity and severities_from(severity),
            origin=origin,
            verdict=None if verdict in (None, "none") else Verdict(verdict),
            unjudged=verdict == "none",
            since=since,
            until=until,
        )
        found = await anomalies.list_newest(caller.scope, wanted, before=read_cursor(before), limit=limit)
        following = write_cursor(found[-1].first_at, found[-1].id) if len(found) == limit else None
        return AnomalyPage(items=[AnomalyRow.of(one) for one in found], next=following)

    @router.get("/counts", operation_id="count_anomalies")
    async def counts(caller: _Reader, device_uuid: _Device = None, days: _Days = 30) -> list[Count]:
        """Counts by metric, severity, origin and verdict; the 1,000 most frequent."""
        found = await anomalies.counts(caller.scope, device_uuid, days)
        return [Count.model_validate(dict(row)) for row in found]

    _ = list_anomalies, counts


def _add_stream(router: APIRouter, anomalies: AnomalyService) -> None:
    @router.get("/watch", operation_id="get_anomaly_watch", dependencies=[requires(Permission.DATA_READ)])
    async def stream() -> StreamStatus:
        """How the watch over stored readings stands."""
        return StreamStatus.of(await anomalies.stream())

    @router.get("/watch/series", operation_id="list_anomaly_series")
    async def series(
        caller: _Reader, device_uuid: _Device = None, after: _Cursor = None, limit: _Limit = 100
    ) -> SeriesPage:
        """What it watches, as it was saved last."""
        found = await anomalies.series(
            caller.scope, device_uuid, after=read_series_cursor(after), limit=limit
        )
        following = f"{found[-1]['device_id']}.{found[-1]['datapoint_id']}" if len(found) == limit else None
        return SeriesPage(items=[SeriesRow.of(row) for row in found], next=following)

    _ = stream, series


def _add_single(router: APIRouter, anomalies: AnomalyService) -> None:
    @router.get("/{anomaly_id}", operation_id="get_anomaly")
    async def find(anomaly_id: UUID, caller: _Reader) -> AnomalyRow:
        """One anomaly."""
        return AnomalyRow.of(await anomalies.find(caller.scope, anomaly_id))

    @router.post("/{anomaly_id}/feedback", operation_id="judge_anomaly")
    async def feedback(anomaly_id: UUID, asked: Feedback, caller: _Attendant) -> AnomalyRow:
        """Say that it is expected, or wrong: whoever watches tells less of the like, for a while."""
        found = await anomalies.feedback(caller.scope, anomaly_id, asked.verdict, by=caller.name)
        return AnomalyRow.of(found)

    _ = find, feedback


def severities_from(least: Severity) -> list[str]:
    """Return the severities that are as bad as this, or worse."""
    order = list(Severity)
    return [one.value for one in order[order.index(least) :]]
