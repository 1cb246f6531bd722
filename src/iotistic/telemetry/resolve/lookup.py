"""Resolves series that the cache does not know: a handful of queries for all of them, adopting if allowed."""

from collections.abc import Collection, Mapping

import asyncpg

from iotistic.telemetry.model import DeviceRef, SeriesRef
from iotistic.telemetry.resolve import repository
from iotistic.telemetry.resolve.model import Hints, Refusal, Resolution, Sensor, Series, UnknownPolicy
from iotistic.telemetry.resolve.repository import DatapointRow, DeviceRow, Pin

Datapoints = Mapping[str, DatapointRow]
"""A template's datapoints by label, in the order of their offsets."""
_NOTHING: Datapoints = {}

DEVICE_UNKNOWN = Refusal(
    "resolve.device_unknown", "no such device is registered, and the policy is to refuse"
)
PIN_EMPTY = Refusal(
    "resolve.sensor_unknown", "no sensor is registered on this pin, and the policy is to refuse"
)
PIN_FOREIGN = Refusal(
    "resolve.sensor_unknown",
    "no sensor is registered on this pin, and its frames are not those of the climate sensor that is adopted"
    " unasked: register its template and its pin",
)
LABEL_UNKNOWN = Refusal("resolve.datapoint_unknown", "the device's template has no such datapoint")
NO_FIELDS = Refusal("resolve.template_has_no_fields", "the sensor's template says nothing about its frames")


async def look_up(
    connection: asyncpg.Connection, refs: Collection[SeriesRef], policy: UnknownPolicy, hints: Hints
) -> dict[SeriesRef, Resolution]:
    """Return what each of `refs` resolves to; what the policy adopts is registered on the way."""
    adopt = policy is UnknownPolicy.ADOPT
    async with connection.transaction():
        devices = await _devices(connection, {ref.device for ref in refs}, adopt=adopt)
        targets, refused = await _targets(connection, refs, devices, hints.foreign, adopt=adopt)
        datapoints = await _datapoints(connection, targets, hints, adopt=adopt)
        resolved: dict[SeriesRef, Resolution] = dict(refused)
        for ref, device in targets.items():
            labelled = datapoints.get(device.template_id, _NOTHING)
            resolved[ref] = _resolve(ref, device, labelled, controller_id=devices[ref.device].id)
        if pairs := _pairs(resolved.values()):
            await repository.note_series(connection, pairs)
    return resolved


async def _devices(
    connection: asyncpg.Connection, wanted: set[DeviceRef], *, adopt: bool
) -> dict[DeviceRef, DeviceRow]:
    found = await repository.find_devices(connection, wanted)
    missing = wanted - found.keys()
    if missing and adopt:
        await repository.adopt_lock(connection)
        await repository.adopt_devices(connection, sorted(missing))
        found |= await repository.find_devices(connection, missing)
    return found


async def _targets(
    connection: asyncpg.Connection,
    refs: Collection[SeriesRef],
    devices: Mapping[DeviceRef, DeviceRow],
    foreign: Collection[SeriesRef],
    *,
    adopt: bool,
) -> tuple[dict[SeriesRef, DeviceRow], dict[SeriesRef, Resolution]]:
    """Return the device that each series belongs to: the one on its pin, or the one that spoke."""
    refused: dict[SeriesRef, Resolution] = {ref: DEVICE_UNKNOWN for ref in refs if ref.device not in devices}
    targets = {ref: devices[ref.device] for ref in refs if ref.device in devices and not ref.connector}
    pins = {
        ref: Pin(devices[ref.device].id, ref.connector, ref.position)
        for ref in refs
        if ref.device in devices and ref.connector
    }
    if not pins:
        return targets, refused
    controllers = {pin.controller_id for pin in pins.values()}
    sensors = await repository.find_pins(connection, controllers)
    empty = {
        pin: repository.sensor_name(ref)
        for ref, pin in pins.items()
        if pin not in sensors and ref not in foreign
    }
    if empty and adopt:
        await repository.adopt_lock(connection)
        await repository.adopt_sensors(connection, empty)
        sensors = await repository.find_pins(connection, controllers)
    for ref, pin in pins.items():
        if pin in sensors:
            targets[ref] = sensors[pin]
        else:
            refused[ref] = PIN_FOREIGN if adopt else PIN_EMPTY
    return targets, refused


async def _datapoints(
    connection: asyncpg.Connection, targets: Mapping[SeriesRef, DeviceRow], hints: Hints, *, adopt: bool
) -> dict[int, Datapoints]:
    templates = {device.template_id for device in targets.values()}
    labels = {ref.label for ref in targets if ref.label}
    found = await _find_datapoints(connection, templates, labels)
    known = {(template_id, label) for template_id, rows in found.items() for label in rows}
    missing = {
        (device.template_id, ref.label): hints.units.get(ref)
        for ref, device in targets.items()
        if ref.label and (device.template_id, ref.label) not in known
    }
    if missing and adopt:
        # Whoever changes a template holds it too: it deletes datapoints that we may be about to refer to.
        await repository.adopt_lock(connection)
        await repository.adopt_datapoints(connection, missing)
        found = await _find_datapoints(connection, templates, labels)
    return found


async def _find_datapoints(
    connection: asyncpg.Connection, templates: Collection[int], labels: Collection[str]
) -> dict[int, Datapoints]:
    found = await repository.find_datapoints(connection, templates, labels)
    return {template_id: {row.label: row for row in rows} for template_id, rows in found.items()}


def _resolve(ref: SeriesRef, device: DeviceRow, datapoints: Datapoints, *, controller_id: int) -> Resolution:
    if not ref.label:
        fields = tuple(row.field for row in datapoints.values() if row.field is not None)
        return Sensor(device.id, fields, controller_id) if fields else NO_FIELDS
    row = datapoints.get(ref.label)
    return LABEL_UNKNOWN if row is None else Series(device.id, row.id)


def _pairs(resolved: Collection[Resolution]) -> list[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for resolution in resolved:
        match resolution:
            case Series(device_id, datapoint_id):
                pairs.add((device_id, datapoint_id))
            case Sensor(device_id, fields):
                pairs |= {(device_id, field.datapoint_id) for field in fields}
            case Refusal():
                pass
    return sorted(pairs)
