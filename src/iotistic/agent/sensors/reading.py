"""One reading of a sensor, and the line that it becomes in a batch.

A line holds what was read at one moment: a bare reading, or several with the time once.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from iotistic.kernel.errors import Invalid

MOST_NAME = 64
"""Characters of a name: a series is called sensor/device/name, and the cloud takes 200."""
MOST_TEXT = 1023
"""Characters of a value that is a text."""
_LAST = 253_402_300_800.0  # the year 10000

Value = float | bool | str | None


class ReadingInvalid(Invalid):
    """The reading is not one that can be published."""

    code = "sensor.reading_invalid"


class Quality(StrEnum):
    """How far a reading is to be believed."""

    GOOD = "GOOD"
    BAD = "BAD"
    UNCERTAIN = "UNCERTAIN"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sensor said; `at` in seconds since 1970, `value` None when it said nothing.

    Raises ReadingInvalid for what the cloud would not take: it is to be said where the reading is made.
    """

    name: str
    value: Value
    unit: str = ""
    at: float = 0.0
    quality: Quality = Quality.GOOD
    device: str = ""
    """Which of several devices of the sensor's protocol it was."""
    simulated: bool = False

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if self.device:
            check_name("device", self.device)
        if isinstance(self.value, int | float) and not _is_finite(self.value):
            raise ReadingInvalid(
                f"value of {self.name} is beyond what a number can hold", hint="no value is written as None"
            )
        if isinstance(self.value, str) and (len(self.value) > MOST_TEXT or not _is_plain(self.value)):
            raise ReadingInvalid(f"value of {self.name} is a text that cannot be kept")
        if len(self.unit) > MOST_NAME or not _is_plain(self.unit):
            raise ReadingInvalid(f"unit of {self.name} is not one")
        if not 0 <= self.at < _LAST:
            raise ReadingInvalid(f"at of {self.name} is {self.at}, no time since 1970")


def check_name(what: str, name: str) -> None:
    """Raise ReadingInvalid for what cannot be part of a series' name."""
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise ReadingInvalid(f"{what} is {name[:80]!r}: 1 to {MOST_NAME} characters that can be printed")


def line(readings: Sequence[Reading]) -> str:
    """Return readings of one poll as a line of JSON."""
    if len(readings) == 1:
        return dump(_fields(readings[0]) | {"timestamp": iso(readings[0].at)})
    first = readings[0].at
    return dump(
        {
            "timestamp": iso(first),
            "readings": [
                _fields(one) if one.at == first else _fields(one) | {"timestamp": iso(one.at)}
                for one in readings
            ],
        }
    )


def iso(at: float) -> str:
    """Return a time as ISO 8601 in UTC, with microseconds: readings of one series are told apart by them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def dump(document: object) -> str:
    """Return compact JSON; characters stand as they are."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _fields(reading: Reading) -> dict[str, object]:
    fields: dict[str, object] = {"deviceName": reading.device} if reading.device else {}
    fields |= {"registerName": reading.name, "value": reading.value}
    if reading.unit:
        fields["unit"] = reading.unit
    fields["quality"] = reading.quality.value
    if reading.simulated:
        fields["simulation"] = True
    return fields


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no double holds
        return False


def _is_plain(text: str) -> bool:
    """Say whether a text can be written as UTF-8, and holds no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
