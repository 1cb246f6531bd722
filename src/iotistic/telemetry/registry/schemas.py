"""HTTP shapes of controlled metadata changes."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from iotistic.contracts.mac import MacInvalid, parse_mac

MOST_DATAPOINTS = 500
_FRAME_BYTES = 256
_WIDTHS = {"Int8": 1, "Uint8": 1, "Int16": 2, "Uint16": 2, "Int32": 4, "Uint32": 4, "Float32": 4}

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00]+$")
]
Encoding = Literal["Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32", "Float32"]


def _shape(**example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


class NewDevice(BaseModel):
    """A device to register: known by its MAC or by the key that it gives itself."""

    model_config = _shape(mac="aa:bb:cc:dd:ee:01", name="Hall door", template="F2 controller")

    name: Name | None = Field(None, description="Default: its MAC or external key.")
    mac: str | None = Field(None, max_length=64, description="aa:bb:cc:dd:ee:ff, aa-bb-…, or aabb….")
    external_key: Name | None = None
    template: Name = Field(description="Name or id of a template.")
    serial_number: Name | None = None

    @field_validator("mac")
    @classmethod
    def _normal(cls, mac: str | None) -> str | None:
        try:
            return None if mac is None else parse_mac(mac)
        except MacInvalid as exc:
            raise ValueError(exc.message) from exc

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.mac is None and self.external_key is None:
            raise ValueError("give `mac` or `external_key`")
        return self


class DeviceChange(BaseModel):
    """What to change; a field that is absent stays as it is."""

    model_config = _shape(name="Boiler room", template="Climate sensor (temperature, humidity, CO2)")

    name: Name | None = None
    template: Name | None = Field(None, description="Name or id of a template.")


class NewTemplate(BaseModel):
    """A template to register."""

    model_config = _shape(name="Power meter", model="PM-3", type="Modbus sensor")

    name: Name
    model: Name | None = None
    type: Name = Field(description="A device type; an unknown one is answered with the known ones.")


class DatapointSpec(BaseModel):
    """One thing a device measures; with offset, length and encoding when it is cut from a Modbus frame."""

    model_config = _shape(label="power", unit="W", offset=3, length=4, encoding="Float32", byte_order="big")

    label: Name
    unit: Name | None = None
    prefix: Name | None = None
    offset: int | None = Field(
        None, ge=0, lt=_FRAME_BYTES, description="From the frame's address byte, which is 0."
    )
    length: Literal[1, 2, 4] | None = None
    encoding: Encoding | None = None
    byte_order: Literal["big", "little"] = "big"
    decimals: int = Field(0, ge=0, le=9, description="The integer is divided by 10 to this power.")
    realtime_chart: bool = True
    historical_chart: bool = True
    icon: Name | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len({self.offset is None, self.length is None, self.encoding is None}) != 1:
            raise ValueError("give `offset`, `length` and `encoding` together, or none of them")
        if self.encoding is not None and self.length != _WIDTHS[self.encoding]:
            raise ValueError(f"`length` of {self.encoding} is {_WIDTHS[self.encoding]}")
        if (self.offset or 0) + (self.length or 0) > _FRAME_BYTES:
            raise ValueError(f"a frame has at most {_FRAME_BYTES} bytes")
        return self


class DatapointSpecs(BaseModel):
    """All datapoints of a template."""

    model_config = ConfigDict(extra="forbid")

    items: list[DatapointSpec] = Field(max_length=MOST_DATAPOINTS)

    @field_validator("items")
    @classmethod
    def _labels_differ(cls, items: list[DatapointSpec]) -> list[DatapointSpec]:
        labels = [item.label for item in items]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"labels occur twice: {', '.join(twice)}")
        return items


class PinSensor(BaseModel):
    """Which kind of sensor sits on a pin."""

    model_config = _shape(template="Climate sensor (temperature, humidity, CO2)", name="Boiler room")

    template: Name = Field(description="Name or id of a template.")
    name: Name | None = Field(None, description="Name of the sensor device; an existing one keeps its own.")


class Template(BaseModel):
    """A template."""

    id: int
    name: str
    model: str | None
    type: str
    is_controller: bool
    devices: int = Field(description="Devices of this template.")


class Templates(BaseModel):
    """All templates."""

    items: list[Template]
