"""The grammar of topics that carry telemetry: which device speaks, of what, in which shape.

stat|tele / f2-<mac> / <mode> / <J1..J4> / <component> [/success]     F2 controllers
stat / f2-<mac> / resend                                              their answers about deliveries
stat / f2-<mac> / backlog                                             their questions about a backlog
sensor / <label>                                                      the payload's sensor_id is the device
sensor / <device> / <label...>
sensor / <uuid> / <label>                                             agents, as below
iot/device / <uuid> / sensor / <label>                                agents, one reading or a batch
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from iotistic.contracts import f2
from iotistic.contracts.backlog import asking_device
from iotistic.contracts.delivery import reply_sender
from iotistic.kernel.errors import Invalid
from iotistic.telemetry.model import DeviceRef, SeriesRef

MAX_NAME_CHARS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AGENT_LEVELS = 5
_SHORT_SENSOR_LEVELS = 2


class TopicUnknown(Invalid):
    """The topic is outside of the grammar of telemetry."""

    code = "decode.topic_unknown"


class Kind(IntEnum):
    """The shape of a topic's payload."""

    READING = 0
    SENSOR = 1
    STATUS = 2
    DOOR = 3
    EXIT = 4
    READER = 5
    AGENT = 6
    REPLY = 7
    """A device's word about deliveries or a backlog: no reading, and none of this stage's business."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a topic says. `device` is None where the payload's sensor_id names it."""

    kind: Kind
    device: DeviceRef | None
    label: str
    connector: int = 0
    position: int = 0

    def series(self, label: str | None = None) -> SeriesRef:
        """Return the series of this route under `label`, or under the topic's own label."""
        if self.device is None:
            raise TopicUnknown("a topic without a device needs the payload's sensor_id")
        return SeriesRef(self.device, self.label if label is None else label, self.connector, self.position)


def parse_topic(topic: bytes) -> Route:
    """Take a topic apart; raise TopicUnknown for one that is outside of the grammar."""
    try:
        text = topic.decode()
    except UnicodeDecodeError as exc:
        raise TopicUnknown("the topic is not UTF-8") from exc
    family = text.partition("/")[0]
    if family in ("stat", "tele"):
        return _parse_f2(text)
    if family == "sensor":
        return _parse_sensor(text)
    if family == "iot":
        return _parse_agent(text)
    raise TopicUnknown


def device_ref(name: str) -> DeviceRef:
    """Return how `name` refers to a device: as its uuid, or as the key it gives itself."""
    try:
        return DeviceRef("uuid", str(UUID(name))) if len(name) in (32, 36) else DeviceRef("key", name)
    except ValueError:
        return DeviceRef("key", name)


def check_name(name: str) -> str:
    """Return a label or device key that may be stored; raise TopicUnknown for one that may not."""
    if not name or len(name) > MAX_NAME_CHARS or _CONTROL.search(name):
        raise TopicUnknown(f"a name has 1 to {MAX_NAME_CHARS} characters and no control characters")
    return name


def _parse_f2(text: str) -> Route:
    if (sender := reply_sender(text)) is not None:
        return Route(Kind.REPLY, DeviceRef("mac", sender.removeprefix("mac:")), "")
    if (asker := asking_device(text)) is not None:
        return Route(Kind.REPLY, DeviceRef("mac", asker), "")
    try:
        topic = f2.parse_topic(text)
    except f2.TopicInvalid as exc:
        raise TopicUnknown(exc.message) from exc
    device = DeviceRef("mac", topic.mac)
    if topic.success:
        return Route(Kind.STATUS, device, f"{topic.label}/{f2.SUCCESS}")
    if topic.position is not None:
        return Route(Kind.SENSOR, device, "", topic.connector_number, topic.position)
    kinds = {
        "door-sensors": Kind.DOOR,
        "exit-buttons": Kind.EXIT,
        "reader-1": Kind.READER,
        "reader-2": Kind.READER,
    }
    kind = kinds.get(topic.component, Kind.STATUS)
    return Route(kind, device, topic.connector if kind in (Kind.DOOR, Kind.EXIT) else topic.label)


def _parse_sensor(text: str) -> Route:
    levels = text.split("/")
    if len(levels) == _SHORT_SENSOR_LEVELS:
        return Route(Kind.READING, None, check_name(levels[1]))
    if len(levels) < _SHORT_SENSOR_LEVELS:
        raise TopicUnknown
    device = device_ref(check_name(levels[1]))
    is_agent = device.kind == "uuid" and len(levels) == _SHORT_SENSOR_LEVELS + 1
    return Route(Kind.AGENT if is_agent else Kind.READING, device, check_name("/".join(levels[2:])))


def _parse_agent(text: str) -> Route:
    levels = text.split("/")
    if len(levels) != _AGENT_LEVELS or levels[1] != "device" or levels[3] != "sensor":
        raise TopicUnknown
    return Route(Kind.AGENT, device_ref(check_name(levels[2])), check_name(levels[4]))
