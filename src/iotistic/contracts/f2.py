"""The wire of F2 controllers: topics, components and payloads.

    <cmnd|stat|tele>/f2-<mac>/<mode>/<J1..J4>/<component>[/success]

A controller has four connectors; each runs in one mode, and the mode says which components hang on it.
`cmnd` goes to the controller, `stat` is its answer or a change of state, `tele` is what it measures.
`/success` belongs to readers: the cloud tells one that a card was accepted, and the reader confirms.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NotRequired, TypedDict

from iotistic.contracts.mac import Mac, MacInvalid, parse_mac
from iotistic.kernel.errors import Invalid

CONNECTORS = ("J1", "J2", "J3", "J4")
CLIENT_PREFIX = "f2-"
SUCCESS = "success"
TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f"
"""Times in payloads are UTC and say no zone: `2026-01-31 23:59:59.000000`."""

MAX_PERIOD_S = 255
MAX_CARD_CHARACTERS = 1023
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TopicKind(StrEnum):
    """Which way a message goes, and why."""

    COMMAND = "cmnd"
    STATUS = "stat"
    TELEMETRY = "tele"


class Mode(StrEnum):
    """What a connector is wired for."""

    ACCESS_CONTROL = "access-control-mode"
    ALARM = "alarm-mode"
    SENSOR = "sensor-mode"


COMPONENTS: dict[Mode, tuple[str, ...]] = {
    Mode.ACCESS_CONTROL: ("strike-1", "strike-2", "door-sensors", "reader-1", "reader-2", "exit-buttons"),
    Mode.ALARM: ("siren-1", "siren-2", *(f"motion-sensor-{n}" for n in range(1, 6))),
    Mode.SENSOR: tuple(f"sensor-{n}" for n in range(1, 7)),
}


class TopicInvalid(Invalid):
    """An F2 topic is <cmnd|stat|tele>/f2-<mac>/<mode>/<J1..J4>/<component>."""

    code = "f2.topic_invalid"


class CommandInvalid(Invalid):
    """The command does not have the shape that its component takes."""

    code = "f2.command_invalid"


@dataclass(frozen=True, slots=True)
class F2Topic:
    """One topic, taken apart. `success` marks the topic of a reader's confirmation."""

    kind: TopicKind
    mac: Mac
    mode: Mode
    connector: str
    component: str
    success: bool = False

    def __str__(self) -> str:
        suffix = f"/{SUCCESS}" if self.success else ""
        return f"{self.kind}/{CLIENT_PREFIX}{self.mac}/{self.mode}/{self.connector}/{self.component}{suffix}"

    @property
    def label(self) -> str:
        """Name of the component at its controller: `J1/strike-1`."""
        return f"{self.connector}/{self.component}"

    @property
    def connector_number(self) -> int:
        """1 to 4."""
        return int(self.connector[1:])

    @property
    def position(self) -> int | None:
        """Pin of the connector that a sensor stands on (1 to 6); None for what is not `sensor-N`."""
        return int(self.component.removeprefix("sensor-")) if self.mode is Mode.SENSOR else None


def parse_topic(text: str) -> F2Topic:
    """Take a topic apart; raise TopicInvalid for one that is outside of the grammar."""
    levels = text.split("/")
    success = levels[5:] == [SUCCESS]
    if len(levels) - success != 5 or not levels[1].startswith(CLIENT_PREFIX):  # noqa: PLR2004 - the grammar
        raise TopicInvalid(topic=text[:256])
    try:
        kind, mode = TopicKind(levels[0]), Mode(levels[2])
        mac = parse_mac(levels[1].removeprefix(CLIENT_PREFIX))
    except (ValueError, MacInvalid) as exc:
        raise TopicInvalid(topic=text[:256]) from exc
    topic = F2Topic(kind, mac, mode, levels[3], levels[4], success)
    known = topic.connector in CONNECTORS and topic.component in COMPONENTS[mode]
    if not known or (success and not topic.component.startswith("reader-")) or str(topic) != text:
        raise TopicInvalid(topic=text[:256])
    return topic


def command_filter(mac: Mac) -> str:
    """Return the filter of every command to one controller."""
    return f"{TopicKind.COMMAND}/{CLIENT_PREFIX}{mac}/#"


def format_timestamp(time_us: int) -> str:
    """Write microseconds since the epoch as a payload's timestamp."""
    return (_EPOCH + timedelta(microseconds=time_us)).strftime(TIMESTAMP_FORMAT)


def parse_timestamp(text: str) -> int:
    """Return the microseconds since the epoch of a payload's timestamp; ValueError when it is none."""
    moment = datetime.strptime(text, TIMESTAMP_FORMAT).replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


class StatusPayload(TypedDict):
    """State of a strike, a siren or a motion sensor; a reader's confirmation."""

    timestamp: str
    status: bool


DoorPayload = TypedDict(
    "DoorPayload", {"timestamp": str, "door-sensor-1": NotRequired[bool], "door-sensor-2": NotRequired[bool]}
)
"""True while the door stands open."""

ExitPayload = TypedDict(
    "ExitPayload", {"timestamp": str, "exit-button-1": NotRequired[bool], "exit-button-2": NotRequired[bool]}
)
"""True while the button is pressed."""


class DataPayload(TypedDict):
    """A card number read (at most 1023 characters), or a sensor's Modbus reply in hex."""

    timestamp: str
    data: str


class ReadingPayload(TypedDict):
    """One value of a sensor that speaks JSON instead of Modbus."""

    timestamp: str
    value: float
    unit: str
    sensor_id: str


StrikeCommand = TypedDict("StrikeCommand", {"power-flag": int, "period": NotRequired[int]})
"""`period` in seconds, 0 to 255; 0 or none means without end, except for a pulse."""


class PowerFlag(IntEnum):
    """What a strike is to do."""

    OFF = 0
    ON = 1
    PULSE = 2
    """On for `period` seconds; the strike's own default when the command names none."""
