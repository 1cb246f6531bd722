"""The device's side of states.

GET   /device/{uuid}/state     the target, or 304 when the device has it already
PATCH /device/state            what the device says of itself
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.devices.access import CheckedInside, presented_key
from iotistic.control.devices.service import DeviceService
from iotistic.control.devices.wire import DeviceRoute, read_json
from iotistic.control.states.model import etags_in, reported_fields, uuid_of_report
from iotistic.control.states.service import StateService
from iotistic.kernel.web.describing import Answer, answered

_MOST_REPORT = 2 * 1024 * 1024
_NOT_MODIFIED = 304


class StateReported(Answer):
    """That a report is noted."""

    status: Literal["ok"]


def device_state_router(states: StateService, devices: DeviceService) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["device state"], route_class=DeviceRoute)
    in_path = CheckedInside("the device's own API key, looked up with the answer")
    in_body = CheckedInside("the API key of the device that the body is about")

    @router.get("/device/{uuid}/state", response_class=Response)
    async def poll(request: Request, uuid: Annotated[str, Depends(in_path)]) -> Response:
        """The target that is in force for the device that asks."""
        etags = etags_in(request.headers.get("If-None-Match", ""))
        answer = await states.poll(uuid, presented_key(request), etags)
        if answer.document is None:
            return Response(status_code=_NOT_MODIFIED, headers={"ETag": answer.etag})
        content = f'{{"{uuid}":{answer.document}}}'.encode()
        headers = {"ETag": answer.etag, "X-Content-Length": str(len(content))}
        return Response(content, media_type="application/json", headers=headers)

    @router.patch("/device/state", dependencies=[Depends(in_body)], responses=answered(StateReported))
    async def report(request: Request) -> dict[str, str]:
        """Note what changed on a device; fields that are not mentioned keep their values."""
        api_key = presented_key(request)
        document = await read_json(request, most=_MOST_REPORT)
        named = uuid_of_report(document)
        uuid = parse_uuid(named)
        await devices.recognise(uuid, api_key)
        await states.report(uuid, reported_fields(document, named))
        return {"status": "ok"}

    _ = poll, report
    return router
