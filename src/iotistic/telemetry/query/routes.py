"""HTTP routes of the query API."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from iotistic.kernel.web.auth import Rule
from iotistic.telemetry.query.csv_rows import MEDIA_TYPE, Cell, csv_text
from iotistic.telemetry.query.model import Aggregate
from iotistic.telemetry.query.parameters import (
    DevicesQuery,
    EventsQuery,
    Format,
    LatestQuery,
    ReadingsQuery,
    SeriesQuery,
)
from iotistic.telemetry.query.schemas import (
    Datapoints,
    DeviceDetail,
    DevicePage,
    EventPage,
    LatestValues,
    Reading,
    ReadingPage,
    SeriesAnswer,
    Stats,
)
from iotistic.telemetry.query.service import QueryService

DeviceText = Annotated[
    str,
    Path(
        alias="device",
        description="Id, MAC (aa:bb:cc:dd:ee:ff, aa-bb-…, aabb…), uuid or external key of a device, or its name "
        "where no other has it; percent-encoded.",
        min_length=1,
        max_length=200,
        examples=["aa:bb:cc:dd:ee:01"],
    ),
]
_OR_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
_READING_COLUMNS = ("timestamp", "datapoint_id", "label", "unit", "value", "received_at")


def query_router(service: QueryService, access: Rule) -> APIRouter:
    """Return the routes below `/api/v1/telemetry` that read; `access` says who may."""
    router = APIRouter(dependencies=[Depends(access)])
    _add_device_routes(router, service)
    _add_history_routes(router, service)
    # Last: a name may hold a slash, so its route takes whatever the others leave.
    _add_device_route(router, service)
    return router


def _add_device_routes(router: APIRouter, service: QueryService) -> None:
    @router.get("/devices", operation_id="list_devices", tags=["devices"])
    async def list_devices(query: Annotated[DevicesQuery, Query()]) -> DevicePage:
        """List devices with their newest reading's time, page by page."""
        return await service.devices.page(query)

    @router.get("/devices/{device:path}/datapoints", operation_id="list_datapoints", tags=["devices"])
    async def list_datapoints(device: DeviceText) -> Datapoints:
        """List what a device's template says it measures."""
        return Datapoints(items=await service.devices.datapoints(device))

    @router.get("/devices/{device:path}/latest", operation_id="get_device_latest", tags=["readings"])
    async def get_device_latest(device: DeviceText) -> LatestValues:
        """Show the newest reading of every datapoint of one device, text readings too."""
        return LatestValues(items=await service.devices.latest([device]))

    @router.get("/latest", operation_id="get_latest", tags=["readings"])
    async def get_latest(query: Annotated[LatestQuery, Query()]) -> LatestValues:
        """Show the newest readings of several devices."""
        return LatestValues(items=await service.devices.latest(query.device))

    @router.get("/stats", operation_id="get_stats", tags=["figures"])
    async def get_stats() -> Stats:
        """Show how much there is, and how much comes in now."""
        return await service.stats()

    _ = list_devices, list_datapoints, get_device_latest, get_latest, get_stats


def _add_history_routes(router: APIRouter, service: QueryService) -> None:
    @router.get(
        "/devices/{device:path}/series",
        operation_id="get_series",
        tags=["readings"],
        response_model=SeriesAnswer,
        response_model_exclude_none=True,
        responses=_OR_CSV,
    )
    async def get_series(
        device: DeviceText, query: Annotated[SeriesQuery, Query()]
    ) -> SeriesAnswer | Response:
        """Show series in at most `points` buckets of equal, round width, from the rollup that fits.

        Extremes per bucket (`minmax`) keep spikes. Buckets without a reading are left out.
        """
        answer = await service.series.series(device, query)
        if query.format is Format.CSV:
            return Response(_series_csv(answer), media_type=MEDIA_TYPE)
        return answer

    @router.get(
        "/devices/{device:path}/readings",
        operation_id="list_readings",
        tags=["readings"],
        response_model=ReadingPage,
        responses=_OR_CSV,
    )
    async def list_readings(
        device: DeviceText, query: Annotated[ReadingsQuery, Query()]
    ) -> ReadingPage | Response:
        """List raw rows: JSON page by page, in both directions, or CSV as one stream of the whole range."""
        if query.format is Format.CSV:
            rows = await service.readings.stream(device, query)
            return StreamingResponse(_readings_csv(rows), media_type=MEDIA_TYPE)
        return await service.readings.page(device, query)

    @router.get("/devices/{device:path}/events", operation_id="list_events", tags=["readings"])
    async def list_events(device: DeviceText, query: Annotated[EventsQuery, Query()]) -> EventPage:
        """List text readings, such as cards shown to a reader, newest first."""
        return await service.readings.events(device, query)

    _ = get_series, list_readings, list_events


def _add_device_route(router: APIRouter, service: QueryService) -> None:
    @router.get("/devices/{device:path}", operation_id="get_device", tags=["devices"])
    async def get_device(device: DeviceText) -> DeviceDetail:
        """Show one device; a controller with its connectors, pins and sensor devices."""
        return await service.devices.detail(device)

    _ = get_device


def _series_csv(answer: SeriesAnswer) -> str:
    minmax = answer.aggregate is Aggregate.MINMAX
    header = ("time", "datapoint_id", "label", "unit", *(("min", "max") if minmax else ("avg",)), "count")
    rows: list[Sequence[Cell]] = [header]
    for series in answer.series:
        name = (series.datapoint_id, series.label, series.unit)
        for bucket in series.buckets:
            figures = (bucket.min, bucket.max) if minmax else (bucket.avg,)
            rows.append((bucket.time, *name, *figures, bucket.count))
    return csv_text(rows)


async def _readings_csv(batches: AsyncIterator[list[Reading]]) -> AsyncIterator[str]:
    yield csv_text([_READING_COLUMNS])
    async for batch in batches:
        yield csv_text(
            (row.timestamp, row.datapoint_id, row.label, row.unit, row.value, row.received_at)
            for row in batch
        )
