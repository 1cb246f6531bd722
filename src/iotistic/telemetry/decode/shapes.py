"""The JSON payloads that devices send, as msgspec types; unknown fields are passed over.

`epoch` and `seq` are kept as they stand: a stamp that cannot be believed must not cost the reading.
"""

from typing import Annotated

import msgspec

Text = Annotated[str, msgspec.Meta(max_length=1023)]
Stamp = str | int | float | None
Scalar = float | bool | str | None
NOTHING = msgspec.Raw()


class Stamped(msgspec.Struct, gc=False):
    """A payload of which nothing but the stamp is of interest."""

    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class Reading(msgspec.Struct, gc=False):
    """One reading: `sensor/...` topics, and F2 sensors that decode for themselves."""

    value: Scalar
    timestamp: Stamp = None
    sensor_id: str | int | None = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class SensorReport(msgspec.Struct, gc=False):
    """An F2 sensor: either `data`, a Modbus RTU reply in hex, or a decoded `value`."""

    timestamp: Stamp = None
    data: str | None = None
    value: Scalar = None
    sensor_id: str | int | None = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class StatusReport(msgspec.Struct, gc=False):
    """A strike, siren or motion sensor: on or off."""

    status: bool | int
    timestamp: Stamp = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class DoorReport(msgspec.Struct, gc=False, rename="kebab"):
    """Both door contacts of a connector."""

    timestamp: Stamp = None
    door_sensor_1: bool | int | None = None
    door_sensor_2: bool | int | None = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class ExitReport(msgspec.Struct, gc=False, rename="kebab"):
    """Both exit buttons of a connector."""

    timestamp: Stamp = None
    exit_button_1: bool | int | None = None
    exit_button_2: bool | int | None = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class ReaderReport(msgspec.Struct, gc=False):
    """A card reader: what it read, as text."""

    data: Text
    timestamp: Stamp = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING


class AgentReading(msgspec.Struct, gc=False, rename="camel"):
    """One register of one field device, as an agent's adapter reports it."""

    register_name: str | None = None
    device_name: str | None = None
    name: str | None = None
    value: Scalar = None
    timestamp: Stamp = None
    readings: list["AgentReading"] | None = None


class AgentBatch(msgspec.Struct, gc=False):
    """What an agent publishes: one reading, or a batch of lines that each hold one or several."""

    sensor: str | None = None
    timestamp: Stamp = None
    messages: list[str | AgentReading] | None = None
    value: Scalar = None
    sensor_id: str | int | None = None
    epoch: msgspec.Raw = NOTHING
    seq: msgspec.Raw = NOTHING
