"""Rows of metadata that may be changed. Every change is one transaction."""

from collections.abc import Sequence

import asyncpg

from iotistic.kernel.errors import Conflict
from iotistic.telemetry.registry.schemas import DatapointSpec, NewDevice, NewTemplate
from iotistic.telemetry.statements import Record, Statements


class DatapointShown(Conflict):
    """A datapoint with readings cannot be removed from its template."""

    code = "registry.datapoint_in_use"


class RegistryRepository:
    """Registers and changes devices, templates and pins. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._statements = Statements(pool, "iotistic.telemetry.registry")

    async def template(self, template_id: int | None, name: str | None) -> Record | None:
        """Return the template with this id, or else this name."""
        return await self._statements.fetchrow("template_named", template_id, name)

    async def templates(self) -> Sequence[Record]:
        """Return all templates."""
        return await self._statements.fetch("templates")

    async def types(self) -> list[str]:
        """Return the names of device types."""
        return [row["typename"] for row in await self._statements.fetch("types")]

    async def icons(self) -> list[str]:
        """Return the names of icons."""
        return [row["name"] for row in await self._statements.fetch("icons")]

    async def add_template(self, new: NewTemplate) -> int | None:
        """Return the id of the new template, or None when its name is taken."""
        row = await self._statements.fetchrow("add_template", new.name, new.model, new.type)
        return row and row["id"]

    async def add_device(self, new: NewDevice, name: str, template_id: int) -> int | None:
        """Return the id of the new device, or None when its MAC or key is taken."""
        row = await self._statements.fetchrow(
            "add_device", name, template_id, new.mac, new.external_key, new.serial_number
        )
        return row and row["id"]

    async def change_device(self, device_id: int, name: str | None, template_id: int | None) -> None:
        """Change what is given."""
        await self._statements.fetch("change_device", device_id, name, template_id)

    async def set_datapoints(self, template_id: int, specs: Sequence[DatapointSpec]) -> None:
        """Make these the template's datapoints. Raises DatapointShown when one with readings is missing."""
        async with self._statements.transaction() as transaction:
            await transaction.fetch("lock_adoption")
            await transaction.fetch("lock_template", template_id)
            dropped = await transaction.fetch(
                "dropped_datapoints", template_id, [spec.label for spec in specs]
            )
            if shown := [row["label"] for row in dropped if row["is_shown"]]:
                raise DatapointShown(
                    labels=shown, hint="keep these in the list; readings would lose their name otherwise"
                )
            await transaction.fetch("delete_datapoints", [row["id"] for row in dropped])
            for spec in specs:
                await transaction.fetch(
                    "set_datapoint", template_id, spec.label, spec.offset, spec.length, spec.encoding,
                    spec.byte_order, spec.decimals, spec.prefix, spec.unit, spec.realtime_chart,
                    spec.historical_chart, spec.icon,
                )  # fmt: skip

    async def set_pin(
        self,
        controller_id: int,
        connector: int,
        pin: int,
        *,
        template_id: int,
        name: str | None,
        default_name: str,
    ) -> int:
        """Put a sensor of this template on the pin, or change the one there; return the sensor's device id."""
        async with self._statements.transaction() as transaction:
            await transaction.fetch("lock_adoption")
            await transaction.fetch("ensure_connector", controller_id, connector)
            sensor = await transaction.fetchrow("sensor_on_pin", controller_id, connector, pin)
            if sensor is not None:
                await transaction.fetch("change_device", sensor["device_id"], name, template_id)
                return sensor["device_id"]
            added = await transaction.fetch("add_device", name or default_name, template_id, None, None, None)
            await transaction.fetch("set_pin", controller_id, connector, pin, added[0]["id"])
            return added[0]["id"]
