"""/devices, for people and programs: the list, one device, and what can be done to them.

GET    /devices                            filter, search, sort, page
POST   /devices/query                      by tag selectors
GET    /devices/{uuid}                     with its target and its report
PATCH  /devices/{uuid}                     describe it
PATCH  /devices/{uuid}/active              switch it on or off
POST   /devices/bulk/activate|deactivate|delete
GET    /devices/{uuid}/network-interfaces
"""

from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Query

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.detail import detail, interfaces
from iotistic.control.devices.fleet_answers import (
    DETAILED,
    LISTED,
    DeviceActive,
    DeviceInterfaces,
    DeviceOutcomes,
)
from iotistic.control.devices.fleet_schemas import (
    ActiveRequest,
    BulkRequest,
    DescribeRequest,
    DevicesQuery,
    SelectionRequest,
    bulk_answer,
    list_answer,
)
from iotistic.control.devices.lifecycle import Act, Lifecycle, Outcome
from iotistic.control.devices.listing import Page, page
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.selection import DeviceFilter
from iotistic.control.devices.visible import visible
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.describing import answered

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Deleter = Annotated[Caller, requires(Permission.DEVICE_DELETE)]


def fleet_router(pool: asyncpg.Pool, lifecycle: Lifecycle) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["devices"])
    _add_reading(router, pool)
    _add_acting(router, pool, lifecycle)
    return router


def _add_reading(router: APIRouter, pool: asyncpg.Pool) -> None:
    @router.get("/devices", responses=LISTED)
    async def list_devices(caller: _Reader, query: Annotated[DevicesQuery, Query()]) -> dict[str, Any]:
        """A page of the devices that fit; totals are counted to 10,000."""
        with database_errors():
            listed = await page(pool, query.wanted(caller.scope.parameter()), query.asked())
        return list_answer(listed, query.asked())

    @router.post("/devices/query", responses=LISTED)
    async def query_devices(caller: _Reader, asked: SelectionRequest) -> dict[str, Any]:
        """A page of the devices whose tags fit all selectors."""
        wanted = DeviceFilter(scope=caller.scope.parameter(), tags=asked.selectors())
        part = Page(order=asked.sort, limit=asked.limit, cursor=asked.cursor)
        with database_errors():
            return list_answer(await page(pool, wanted, part), part)

    @router.get("/devices/{uuid}", responses=DETAILED)
    async def find_device(caller: _Reader, uuid: str) -> dict[str, Any]:
        """A device with its target and what it reported."""
        with database_errors():
            return await detail(pool, visible(caller, parse_uuid(uuid)))

    @router.get("/devices/{uuid}/network-interfaces", responses=answered(DeviceInterfaces))
    async def network_interfaces(caller: _Reader, uuid: str) -> dict[str, Any]:
        """The interfaces as the device reported them last."""
        with database_errors():
            return await interfaces(pool, visible(caller, parse_uuid(uuid)))

    _ = list_devices, query_devices, find_device, network_interfaces


def _add_acting(router: APIRouter, pool: asyncpg.Pool, lifecycle: Lifecycle) -> None:
    @router.patch("/devices/{uuid}", responses=DETAILED)
    async def describe_device(caller: _Writer, uuid: str, asked: DescribeRequest) -> dict[str, Any]:
        """Change what the body names."""
        named = visible(caller, parse_uuid(uuid))
        await lifecycle.describe(named, asked.values(), by=caller)
        with database_errors():
            return await detail(pool, named)

    @router.patch("/devices/{uuid}/active", responses=answered(DeviceActive))
    async def set_active(caller: _Writer, uuid: str, asked: ActiveRequest) -> dict[str, Any]:
        """Switch a device on or off; one that is off is refused everything, from the next request on."""
        named = visible(caller, parse_uuid(uuid))
        act = Act.ACTIVATE if asked.is_active else Act.DEACTIVATE
        (result,) = await lifecycle.act(act, [named], by=caller)
        if result.outcome is Outcome.UNKNOWN:
            raise DeviceUnknown(uuid=named)
        return {"status": "ok", "uuid": named, "is_active": asked.is_active}

    @router.post("/devices/bulk/activate", responses=answered(DeviceOutcomes))
    async def activate_devices(caller: _Writer, asked: BulkRequest) -> dict[str, Any]:
        """Switch devices on; a result for each."""
        return bulk_answer(await lifecycle.act(Act.ACTIVATE, asked.uuids(), by=caller))

    @router.post("/devices/bulk/deactivate", responses=answered(DeviceOutcomes))
    async def deactivate_devices(caller: _Writer, asked: BulkRequest) -> dict[str, Any]:
        """Switch devices off; a result for each."""
        return bulk_answer(await lifecycle.act(Act.DEACTIVATE, asked.uuids(), by=caller))

    @router.post("/devices/bulk/delete", responses=answered(DeviceOutcomes))
    async def delete_devices(caller: _Deleter, asked: BulkRequest) -> dict[str, Any]:
        """Remove devices with everything that they own; a result for each."""
        return bulk_answer(await lifecycle.act(Act.DELETE, asked.uuids(), by=caller))

    _ = describe_device, set_active, activate_devices, deactivate_devices, delete_devices
