"""HTTP routes that change metadata."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from iotistic.kernel.web.auth import Rule
from iotistic.telemetry.query.routes import DeviceText
from iotistic.telemetry.query.schemas import Datapoints, DeviceDetail
from iotistic.telemetry.registry.schemas import (
    DatapointSpecs,
    DeviceChange,
    NewDevice,
    NewTemplate,
    PinSensor,
    Template,
    Templates,
)
from iotistic.telemetry.registry.service import RegistryService

Number = Annotated[int, Path(ge=1, le=64)]
TemplateId = Annotated[int, Path(ge=1, le=2**31 - 1)]


def registry_router(service: RegistryService, access: Rule, change: Rule) -> APIRouter:
    """Return the routes about devices, templates and pins; `access` says who may look, `change` who may change."""
    changing = APIRouter(dependencies=[Depends(change)])
    _add_device_routes(changing, service)
    _add_template_routes(changing, service)
    router = APIRouter()
    router.include_router(changing)
    _add_template_list(router, service, access)
    return router


def _add_device_routes(router: APIRouter, service: RegistryService) -> None:
    @router.post("/devices", operation_id="register_device", tags=["devices"], status_code=201)
    async def register_device(new: NewDevice) -> DeviceDetail:
        """Register a device by its MAC or external key."""
        return await service.register(new)

    @router.patch("/devices/{device:path}", operation_id="change_device", tags=["devices"])
    async def change_device(device: DeviceText, change: DeviceChange) -> DeviceDetail:
        """Change a device's name or template; what is absent stays."""
        return await service.change(device, change)

    @router.put(
        "/devices/{device:path}/connectors/{connector}/pins/{pin}", operation_id="set_pin", tags=["devices"]
    )
    async def set_pin(device: DeviceText, connector: Number, pin: Number, sensor: PinSensor) -> DeviceDetail:
        """Say which kind of sensor sits on a controller's pin; answers the sensor device."""
        return await service.set_pin(device, connector, pin, sensor)

    _ = register_device, change_device, set_pin


def _add_template_routes(router: APIRouter, service: RegistryService) -> None:
    @router.post("/templates", operation_id="add_template", tags=["templates"], status_code=201)
    async def add_template(new: NewTemplate) -> Template:
        """Register a template."""
        return await service.add_template(new)

    @router.put("/templates/{template_id}/datapoints", operation_id="set_datapoints", tags=["templates"])
    async def set_datapoints(template_id: TemplateId, specs: DatapointSpecs) -> Datapoints:
        """Replace a template's datapoints; one with the same label keeps its id and so its history."""
        return Datapoints(items=await service.set_datapoints(template_id, specs.items))

    _ = add_template, set_datapoints


def _add_template_list(router: APIRouter, service: RegistryService, access: Rule) -> None:
    @router.get(
        "/templates", operation_id="list_templates", tags=["templates"], dependencies=[Depends(access)]
    )
    async def list_templates() -> Templates:
        """List templates."""
        return Templates(items=await service.templates())

    _ = list_templates
