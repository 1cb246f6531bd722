"""Use cases that mend metadata: register devices and templates, say what sits on a pin."""

import structlog

from iotistic.contracts.mac import Mac, format_mac
from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.references import parse_id
from iotistic.telemetry.query.schemas import Datapoint, DeviceDetail
from iotistic.telemetry.registry.repository import RegistryRepository
from iotistic.telemetry.registry.schemas import (
    DatapointSpec,
    DeviceChange,
    NewDevice,
    NewTemplate,
    PinSensor,
    Template,
)
from iotistic.telemetry.statements import Record

log = structlog.get_logger()


class TemplateUnknown(NotFound):
    """There is no such template."""

    code = "template.unknown"


class TemplateExists(Conflict):
    """A template of this name exists."""

    code = "template.exists"


class DeviceExists(Conflict):
    """A device with this MAC or external key exists."""

    code = "device.exists"


class NotAController(Conflict):
    """Only a controller has connectors and pins."""

    code = "registry.not_a_controller"


class NotASensor(Conflict):
    """A controller cannot sit on a pin."""

    code = "registry.not_a_sensor"


class NameUnknown(Invalid):
    """A name in the request is not one of those known."""

    code = "registry.name_unknown"


class RegistryService:
    """Changes metadata; ingest workers hear of it at once."""

    def __init__(self, repository: RegistryRepository, devices: DeviceQueries) -> None:
        self._repository = repository
        self._devices = devices

    async def register(self, new: NewDevice) -> DeviceDetail:
        """Register a device; raise TemplateUnknown or DeviceExists."""
        template = await self._template(new.template)
        name = new.name or new.external_key or format_mac(Mac(new.mac or ""))
        device_id = await self._repository.add_device(new, name, template["id"])
        if device_id is None:
            raise DeviceExists(hint="change that one with PATCH /devices/{device}")
        log.info("device.registered", device_id=device_id, template_id=template["id"])
        return await self._devices.detail(str(device_id))

    async def change(self, device_text: str, change: DeviceChange) -> DeviceDetail:
        """Change name or template of a device; raise DeviceUnknown or TemplateUnknown."""
        device = await self._devices.find(device_text)
        template_id = (await self._template(change.template))["id"] if change.template else None
        await self._repository.change_device(device["id"], change.name, template_id)
        log.info("device.changed", device_id=device["id"], template_id=template_id)
        return await self._devices.detail(str(device["id"]))

    async def templates(self) -> list[Template]:
        """Return all templates."""
        return [Template.model_validate(dict(row)) for row in await self._repository.templates()]

    async def add_template(self, new: NewTemplate) -> Template:
        """Register a template; raise NameUnknown or TemplateExists."""
        self._check_name("type", new.type, await self._repository.types())
        if await self._repository.add_template(new) is None:
            raise TemplateExists(name=new.name)
        row = await self._template(new.name)
        log.info("template.registered", template_id=row["id"])
        return Template.model_validate({**row, "devices": 0})

    async def set_datapoints(self, template_id: int, specs: list[DatapointSpec]) -> list[Datapoint]:
        """Make these a template's datapoints; raise TemplateUnknown, NameUnknown or DatapointShown."""
        template = await self._template(str(template_id))
        icons = await self._repository.icons()
        for number, spec in enumerate(specs):
            if spec.icon is not None:
                self._check_name(f"items.{number}.icon", spec.icon, icons)
        await self._repository.set_datapoints(template["id"], specs)
        log.info("template.changed", template_id=template["id"], datapoints=len(specs))
        return await self._devices.template_datapoints(template["id"])

    async def set_pin(
        self, controller_text: str, connector: int, pin: int, sensor: PinSensor
    ) -> DeviceDetail:
        """Say which sensor sits on a pin; raise DeviceUnknown, TemplateUnknown, NotAController, NotASensor."""
        controller = await self._devices.find(controller_text)
        if not controller["is_controller"]:
            raise NotAController(device=controller["id"], template=controller["template"])
        template = await self._template(sensor.template)
        if template["is_controller"]:
            raise NotASensor(template=template["name"])
        device_id = await self._repository.set_pin(
            controller["id"], connector, pin, template_id=template["id"], name=sensor.name,
            default_name=f"{controller['name']} J{connector}/sensor-{pin}",
        )  # fmt: skip
        log.info("pin.set", controller_id=controller["id"], connector=connector, pin=pin, device_id=device_id)
        return await self._devices.detail(str(device_id))

    async def _template(self, text: str) -> Record:
        template = await self._repository.template(parse_id(text), text)
        if template is None:
            raise TemplateUnknown(template=text, hint="GET /templates lists them")
        return template

    @staticmethod
    def _check_name(field: str, name: str, known: list[str]) -> None:
        if name not in known:
            raise NameUnknown(
                f"body.{field}: {name!r} is not one of {', '.join(known)}", **{f"body.{field}": name}
            )
