"""Finds, and where the policy allows registers, what series refer to; always for many at a time."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from iotistic.kernel.postgres.queries import load_queries
from iotistic.telemetry.decode.modbus import Encoding, FrameField
from iotistic.telemetry.model import DeviceRef, SeriesRef

_SQL = load_queries("iotistic.telemetry.resolve")

CONTROLLER_TEMPLATE = "F2 controller"
SENSOR_TEMPLATE = "Climate sensor (temperature, humidity, CO2)"
GENERIC_TEMPLATE = "Generic JSON device"


class DeviceRow(NamedTuple):
    """A registered device, as far as resolving needs it."""

    id: int
    template_id: int


class Pin(NamedTuple):
    """A place for a sensor: the controller's id, connector and position from 1."""

    controller_id: int
    connector: int
    position: int


class DatapointRow(NamedTuple):
    """A template's datapoint; `field` is None when it is not read from a frame."""

    id: int
    label: str
    field: FrameField | None


async def find_devices(
    connection: asyncpg.Connection, refs: Collection[DeviceRef]
) -> dict[DeviceRef, DeviceRow]:
    """Return the devices that are registered among `refs`."""
    keys = {kind: [ref.key for ref in refs if ref.kind == kind] for kind in ("mac", "uuid", "key")}
    # A device may have been registered under a uuid as the key it gives itself.
    rows = await connection.fetch(
        _SQL["devices"], keys["mac"], [UUID(key) for key in keys["uuid"]], keys["key"] + keys["uuid"]
    )
    found: dict[DeviceRef, DeviceRow] = {}
    for row in rows:
        device = DeviceRow(row["id"], row["devicetemplateid"])
        found[DeviceRef("mac", row["macaddress"] or "")] = device
        found[DeviceRef("key", row["externalkey"] or "")] = device
        found.setdefault(DeviceRef("uuid", row["externalkey"] or ""), device)
    for row in rows:
        found[DeviceRef("uuid", row["uuid"])] = DeviceRow(row["id"], row["devicetemplateid"])
    return {ref: found[ref] for ref in refs if ref in found}


async def find_pins(connection: asyncpg.Connection, controller_ids: Collection[int]) -> dict[Pin, DeviceRow]:
    """Return the sensor devices on all pins of some controllers."""
    rows = await connection.fetch(_SQL["pins"], list(controller_ids))
    return {
        Pin(row["controllerid"], row["connectornumber"], row["position"]): DeviceRow(
            row["deviceid"], row["devicetemplateid"]
        )
        for row in rows
    }


async def find_datapoints(
    connection: asyncpg.Connection, template_ids: Collection[int], labels: Collection[str]
) -> dict[int, list[DatapointRow]]:
    """Return by template: the datapoints read from frames, and those named in `labels`."""
    found: dict[int, list[DatapointRow]] = defaultdict(list)
    for row in await connection.fetch(_SQL["datapoints"], list(template_ids), list(labels)):
        found[row["devicetemplateid"]].append(DatapointRow(row["id"], row["label"], _field(row)))
    return found


async def adopt_lock(connection: asyncpg.Connection) -> None:
    """Hold off other adoptions until the transaction ends."""
    await connection.execute(_SQL["adopt_lock"])


async def adopt_devices(connection: asyncpg.Connection, refs: Iterable[DeviceRef]) -> None:
    """Register devices; one that another worker has just registered is left as it is."""
    rows = [
        (
            f"F2 {ref.key}" if ref.kind == "mac" else ref.key,
            ref.key if ref.kind == "mac" else None,
            UUID(ref.key) if ref.kind == "uuid" else None,
            ref.key if ref.kind == "key" else None,
            CONTROLLER_TEMPLATE if ref.kind == "mac" else GENERIC_TEMPLATE,
        )
        for ref in refs
    ]
    await connection.execute(_SQL["adopt_devices"], *map(list, zip(*rows, strict=True)))


async def adopt_sensors(connection: asyncpg.Connection, pins: Mapping[Pin, str]) -> None:
    """Register climate sensors on free pins; the values of `pins` are the devices' names."""
    connectors = sorted({(pin.controller_id, pin.connector) for pin in pins})
    await connection.execute(_SQL["adopt_connectors"], *map(list, zip(*connectors, strict=True)))
    await connection.executemany(
        _SQL["adopt_sensor"], [(*pin, name, SENSOR_TEMPLATE) for pin, name in sorted(pins.items())]
    )


async def adopt_datapoints(
    connection: asyncpg.Connection, wanted: Mapping[tuple[int, str], str | None]
) -> None:
    """Add labels to templates; keys are (template id, label), values the unit when it is known."""
    rows = [(template_id, label, unit) for (template_id, label), unit in sorted(wanted.items())]
    await connection.execute(_SQL["adopt_datapoints"], *map(list, zip(*rows, strict=True)))


async def note_series(connection: asyncpg.Connection, series: Sequence[tuple[int, int]]) -> None:
    """Note (device id, datapoint id) pairs that have readings."""
    # By datapoint, as they are deleted: neither waits for one that the other has passed.
    ordered = sorted(series, key=lambda pair: (pair[1], pair[0]))
    await connection.execute(_SQL["note_series"], *map(list, zip(*ordered, strict=True)))


def sensor_name(ref: SeriesRef) -> str:
    """Return the name an adopted sensor device gets."""
    return f"F2 {ref.device.key} J{ref.connector}/sensor-{ref.position}"


def _field(row: asyncpg.Record) -> FrameField | None:
    if row["offset"] is None:
        return None
    return FrameField(
        row["id"],
        row["label"],
        row["offset"],
        row["length"],
        Encoding(row["dataencoding"]),
        row["byteorder"] == "little",
        row["decimals"],
    )
