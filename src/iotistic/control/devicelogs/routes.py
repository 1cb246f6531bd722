"""Logs: the device sends, people look.

POST /device/{uuid}/logs             NDJSON or a JSON array, packed or not, of any size
GET  /devices/{uuid}/logs            search, the newest first
GET  /devices/{uuid}/logs/follow     as they come (server-sent events)
GET  /devices/{uuid}/logs/services
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devicelogs.answers import LogLines, LogReceipt, LogServices
from iotistic.control.devicelogs.following import Followers
from iotistic.control.devicelogs.service import DeviceLogs
from iotistic.control.devicelogs.shapes import FilterQuery, SearchQuery, search_answer, upload_answer
from iotistic.control.devices.access import OwnDevice
from iotistic.control.devices.service import DeviceService, utc_now
from iotistic.control.devices.visible import visible
from iotistic.control.devices.wire import BodyInvalid, DeviceRoute
from iotistic.kernel.web.app import until_stopping
from iotistic.kernel.web.describing import answered

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_MOST_DIGITS = 18


def upload_router(
    logs: DeviceLogs, devices: DeviceService, *, heard: Callable[[str], None] | None = None
) -> APIRouter:
    """Return the device's route; `heard` is told of each device that speaks.

    Its bodies are of any size: the app's own limit has to let them through (`streamed_bodies` of create_app).
    """
    router = APIRouter(tags=["device logs"], route_class=DeviceRoute)

    @router.post("/device/{uuid}/logs", responses=answered(LogReceipt))
    async def upload_logs(
        request: Request, uuid: Annotated[str, Depends(OwnDevice(devices))]
    ) -> dict[str, Any]:
        """Keep lines; those that are there already are not kept twice."""
        if heard is not None:
            heard(uuid)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "")
        is_array = kind == "application/json"
        return upload_answer(await logs.upload(uuid, _body(request), encoding, is_array=is_array))

    _ = upload_logs
    return router


def logs_router(logs: DeviceLogs, followers: Followers) -> APIRouter:
    """Return the people's routes."""
    router = APIRouter(tags=["device logs"])

    @router.get("/devices/{uuid}/logs", responses=answered(LogLines))
    async def search_logs(
        caller: _Reader, uuid: str, query: Annotated[SearchQuery, Query()]
    ) -> dict[str, Any]:
        """Lines, the newest first. A page may have fewer than the limit while `nextCursor` leads on."""
        number = await logs.number(visible(caller, parse_uuid(uuid)))
        before = query.before(utc_now())
        found = await logs.search(
            number, query.wanted(), since=query.since(), before=before, limit=query.limit
        )
        return search_answer(found)

    @router.get("/devices/{uuid}/logs/services", responses=answered(LogServices))
    async def log_services(caller: _Reader, uuid: str) -> dict[str, Any]:
        """The services that there are lines of."""
        rows = await logs.services(await logs.number(visible(caller, parse_uuid(uuid))))
        return {
            "services": [row["service"] for row in rows],
            "details": [{"service": row["service"], "last_at": row["last_at"]} for row in rows],
        }

    @router.get("/devices/{uuid}/logs/follow", response_class=StreamingResponse)
    async def follow_logs(
        request: Request,
        caller: _Reader,
        uuid: str,
        query: Annotated[FilterQuery, Query()],
        last_event_id: Annotated[str, Header(max_length=40)] = "",
    ) -> StreamingResponse:
        """Lines as they come; with Last-Event-ID, those since that one first."""
        number = await logs.number(visible(caller, parse_uuid(uuid)))
        followers.check()
        is_number = (
            last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) <= _MOST_DIGITS
        )
        after = int(last_event_id) if is_number else await followers.newest(number)
        return StreamingResponse(
            until_stopping(request, followers.follow(number, query.wanted(), after)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    _ = search_logs, log_services, follow_logs
    return router


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect as exc:
        raise BodyInvalid("the connection broke off", hint="send it again: no line is kept twice") from exc
