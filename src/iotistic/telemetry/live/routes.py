"""HTTP route of the live feed."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from iotistic.kernel.web.app import until_stopping
from iotistic.kernel.web.auth import Rule
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.stream import LabelBook, Labels, event_stream
from iotistic.telemetry.live.subscription import LiveFilter

_EXAMPLE = """retry: 2000
: connected

event: reading
data: {"device_id":12,"datapoint_id":1,"label":"temperature","unit":"°C","timestamp":"2026-01-31T12:00:00.000000Z","value":21.5}

event: text
data: {"device_id":7,"datapoint_id":9,"label":"J1/reader-1","unit":null,"timestamp":"2026-01-31T12:00:01.000000Z","value":"0451"}

event: dropped
data: {"rows":120}

"""
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An endless stream; comments are heartbeats.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
_MOST_FILTERS = 100
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class StreamQuery(BaseModel):
    """Which readings to send; nothing given means all."""

    model_config = ConfigDict(extra="forbid")

    device: list[_Name] = Field(
        default_factory=list[str],
        max_length=_MOST_FILTERS,
        description="Id, MAC, uuid, external key or name.",
    )
    datapoint: list[_Name] = Field(
        default_factory=list[str], max_length=_MOST_FILTERS, description="Label or id of a datapoint."
    )


class Names(Protocol):
    """What the stream needs to know of devices and datapoints."""

    async def live_filter(self, devices: list[str], datapoints: list[str]) -> LiveFilter:
        """Turn names into ids; raise DeviceUnknown or DatapointUnknown."""
        ...

    async def labels(self, datapoint_ids: list[int]) -> Labels:
        """Return label and unit of datapoints."""
        ...


def live_router(hub: LiveHub, names: Names, access: Rule) -> APIRouter:
    """Return the route `/stream`; `access` says who may watch."""
    router = APIRouter(dependencies=[Depends(access)], tags=["readings"])
    labels = LabelBook(names.labels)

    @router.get(
        "/stream", operation_id="stream_readings", response_class=StreamingResponse, responses=_RESPONSES
    )
    async def stream_readings(request: Request, query: Annotated[StreamQuery, Query()]) -> StreamingResponse:
        """Stream readings as they are committed (server-sent events).

        `reading` carries a number, `text` a text reading. A client that reads too slowly loses the oldest
        rows and is told how many by `dropped`. Nothing is repeated after a reconnect: fetch the gap from
        `/devices/{device}/readings`.
        """
        wanted = await names.live_filter(query.device, query.datapoint)
        return StreamingResponse(
            until_stopping(request, event_stream(hub, wanted, labels)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    _ = stream_readings
    return router
