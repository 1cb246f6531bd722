"""What the shared cache holds: keys, and values as JSON.

    device_mac:{mac}                          {generation, device_id}
    sensor_mapping:{controller}:{conn}:{n}    {generation, device_id, datapoint_ids}
    datapoint_metadata:{id}                   {generation, label, offset, length, encoding, ...}
    iotistic:1:device:{kind}:{key}            {generation, device_id}      devices that are named otherwise
    iotistic:1:series:{device}:{label}        {generation, datapoint_id}

A value counts only with the generation that the reader asks for. Anything else under a key, whoever put
it there, is not there.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from iotistic.telemetry.decode.modbus import MAX_FRAME_BYTES, Encoding, FrameField
from iotistic.telemetry.model import DeviceRef

KEPT_S = 3600

_Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_OWN = "iotistic:1"


class Entry(msgspec.Struct, frozen=True):
    """A value and the state of the metadata that it was read from."""

    generation: str


class DeviceEntry(Entry, frozen=True):
    """A registered device."""

    device_id: _Id


class SensorEntry(Entry, frozen=True):
    """The device behind a pin, and the datapoints that its template reads from a frame, in their order."""

    device_id: _Id
    datapoint_ids: Annotated[tuple[_Id, ...], Meta(min_length=1)]


class SeriesEntry(Entry, frozen=True):
    """A labelled datapoint of a device."""

    datapoint_id: _Id


class DatapointEntry(Entry, frozen=True):
    """How a datapoint is read from a frame."""

    label: str
    offset: Annotated[int, Meta(ge=0, lt=MAX_FRAME_BYTES)]
    length: Annotated[int, Meta(ge=1, le=4)]
    encoding: Encoding
    little_endian: bool
    decimals: Annotated[int, Meta(ge=0, le=9)]

    def field(self, datapoint_id: int) -> FrameField:
        """Return it as the resolver uses it."""
        return FrameField(
            datapoint_id,
            self.label,
            self.offset,
            self.length,
            self.encoding,
            self.little_endian,
            self.decimals,
        )


E = TypeVar("E", bound=Entry)


def read(value: bytes | None, kind: type[E], generation: str) -> E | None:
    """Return a value of this generation, None for everything else."""
    if value is None:
        return None
    try:
        entry = msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return entry if entry.generation == generation else None


def of_field(field: FrameField, generation: str) -> DatapointEntry:
    """Return what is stored of a datapoint."""
    return DatapointEntry(
        generation,
        field.label,
        field.offset,
        field.length,
        field.encoding,
        field.little_endian,
        field.decimals,
    )


def device_key(ref: DeviceRef) -> str:
    """Return the key of a device as messages name it."""
    return f"device_mac:{ref.key}" if ref.kind == "mac" else f"{_OWN}:device:{ref.kind}:{ref.key}"


def sensor_key(controller_id: int, connector: int, position: int) -> str:
    """Return the key of a pin."""
    return f"sensor_mapping:{controller_id}:{connector}:{position}"


def series_key(device_id: int, label: str) -> str:
    """Return the key of a labelled datapoint."""
    return f"{_OWN}:series:{device_id}:{label}"


def datapoint_key(datapoint_id: int) -> str:
    """Return the key of a datapoint that is read from frames."""
    return f"datapoint_metadata:{datapoint_id}"
