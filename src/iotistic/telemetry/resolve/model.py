"""What a series resolves to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from iotistic.telemetry.decode.modbus import FrameField
from iotistic.telemetry.model import SeriesRef


class UnknownPolicy(StrEnum):
    """What happens to readings of a device or datapoint that nobody has registered."""

    ADOPT = "adopt"
    """It is registered as it appears."""
    REFUSE = "refuse"
    """Its messages become dead letters until it is registered."""


@dataclass(frozen=True, slots=True)
class Series:
    """A resolved series: one datapoint of one device."""

    device_id: int
    datapoint_id: int


@dataclass(frozen=True, slots=True)
class Sensor:
    """A device behind a pin of a controller, and the fields its template reads out of a frame."""

    device_id: int
    fields: tuple[FrameField, ...]
    controller_id: int

    @property
    def frame_bytes(self) -> int:
        """The shortest frame that holds every field."""
        return max(field.end for field in self.fields)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a series has no rows: a stable code and words for people."""

    reason: str
    detail: str


Resolution = Series | Sensor | Refusal


@dataclass(frozen=True, slots=True)
class Hints:
    """What messages tell about series that are met for the first time, for those that are adopted."""

    units: Mapping[SeriesRef, str]
    """Units that payloads name."""
    foreign: Collection[SeriesRef]
    """Series whose frames are not of the kind that an adopted sensor sends."""
