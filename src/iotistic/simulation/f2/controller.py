"""One F2 controller without I/O: time and commands in, messages out.

    J1 access control    two strikes, doors, readers and exit buttons
    J2 alarm             two sirens, five motion sensors
    J3, J4 sensors       six and two climate sensors

The same seed, times and commands give the same messages, byte for byte.
"""

import heapq
import json
import random
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from iotistic.contracts.f2 import (
    COMPONENTS,
    CONNECTORS,
    CommandInvalid,
    DataPayload,
    F2Topic,
    Mode,
    ReadingPayload,
    StatusPayload,
    TopicKind,
    format_timestamp,
)
from iotistic.contracts.mac import Mac
from iotistic.simulation.f2.climate import ClimateSensor
from iotistic.simulation.f2.commands import Accept, Query, Switch, parse_command
from iotistic.simulation.f2.people import Event, Happening, People

_ACCESS, _ALARM = CONNECTORS[0], CONNECTORS[1]
_SENSORS = {CONNECTORS[2]: 6, CONNECTORS[3]: 2}
SENSORS = sum(_SENSORS.values())
_MODES = {_ACCESS: Mode.ACCESS_CONTROL, _ALARM: Mode.ALARM} | dict.fromkeys(_SENSORS, Mode.SENSOR)
_STATUS_EVERY_ROUNDS = 12
_SECOND_US = 1_000_000
_BY_COMMAND = 1 << 62  # orders the end of a commanded period behind what people do at the same time


class PayloadFormat(StrEnum):
    """How climate sensors speak: all quantities in one Modbus frame, or the temperature as JSON."""

    MODBUS = "modbus"
    JSON = "json"


class Message(NamedTuple):
    """What a controller publishes."""

    topic: bytes
    payload: bytes


class Answer(NamedTuple):
    """What a command causes: messages now, and a call of `events` after so many seconds."""

    messages: list[Message]
    again_after_s: int = 0


class Controller:
    """One device."""

    __slots__ = ("_chance", "_due", "_format", "_on", "_people", "_rounds", "_sensors", "mac")

    def __init__(self, mac: Mac, *, seed: int, payload_format: PayloadFormat = PayloadFormat.MODBUS) -> None:
        self.mac = mac
        self._format = payload_format
        self._chance = random.Random(f"{seed}:{mac}")
        self._people = People(self._chance)
        self._sensors = {
            (connector, number): ClimateSensor(number, self._chance)
            for connector, count in _SENSORS.items()
            for number in range(1, count + 1)
        }
        self._on: set[str] = set()
        self._due: list[Event] = []
        self._rounds = 0

    def round(self, time_us: int) -> list[Message]:
        """Return what happened since the last round, a measurement of every sensor, and now and then all states."""
        messages = self.events(time_us)
        if self._rounds % _STATUS_EVERY_ROUNDS == 0:
            messages += self._states(time_us)
        self._rounds += 1
        messages += self._measurements(time_us)
        return messages

    def events(self, time_us: int) -> list[Message]:
        """Return what happened up to `time_us` and was not told yet."""
        for event in self._people.until(time_us):
            heapq.heappush(self._due, event)
        messages: list[Message] = []
        while self._due and self._due[0].time_us <= time_us:
            messages += self._happen(heapq.heappop(self._due))
        return messages

    def obey(self, topic: bytes, payload: bytes, time_us: int) -> Answer:
        """Carry out a command and return the answer. Raises CommandInvalid or TopicInvalid."""
        command = parse_command(topic, payload)
        if _MODES[command.topic.connector] is not command.topic.mode:
            raise CommandInvalid(f"{command.topic.connector} is not wired for {command.topic.mode}")
        match command:
            case Query(place):
                return Answer([self._state(place.mode, place.connector, place.component, time_us)])
            case Accept(place):
                return Answer([self._status(place, time_us, active=True)])
            case Switch(place, on, period_s):
                self._set(place.component, active=on)
                if place.component.startswith("strike-"):
                    self._cancel(int(place.component[-1]))
                if period_s:
                    self._end_later(place, time_us + period_s * _SECOND_US)
                return Answer([self._status(place, time_us, active=on)], period_s)

    def _measurements(self, time_us: int) -> Iterator[Message]:
        timestamp = format_timestamp(time_us)
        people = self._people.inside
        for (connector, number), sensor in self._sensors.items():
            air = sensor.measure(time_us, people=people)
            if self._format is PayloadFormat.MODBUS:
                payload: DataPayload | ReadingPayload = {
                    "timestamp": timestamp,
                    "data": air.frame(sensor.address),
                }
            else:
                payload = {
                    "timestamp": timestamp,
                    "value": round(air.temperature, 2),
                    "unit": "°C",
                    "sensor_id": "temperature",
                }
            yield self._message(TopicKind.TELEMETRY, Mode.SENSOR, connector, f"sensor-{number}", payload)

    def _states(self, time_us: int) -> Iterator[Message]:
        for component in COMPONENTS[Mode.ACCESS_CONTROL]:
            if not component.startswith("reader-"):
                yield self._state(Mode.ACCESS_CONTROL, _ACCESS, component, time_us)
        for component in COMPONENTS[Mode.ALARM]:
            yield self._state(Mode.ALARM, _ALARM, component, time_us)

    def _happen(self, event: Event) -> Iterator[Message]:
        """Change the state that an event changes; yield its message."""
        time_us, number = event.time_us, event.number
        match event.happening:
            case Happening.CARD:
                card: DataPayload = {"timestamp": format_timestamp(time_us), "data": event.card}
                place = (TopicKind.TELEMETRY, Mode.ACCESS_CONTROL, _ACCESS, f"reader-{number}")
                yield self._message(*place, card)
                return
            case Happening.STRIKE:
                mode, connector, component, name = Mode.ACCESS_CONTROL, _ACCESS, f"strike-{number}", None
            case Happening.DOOR:
                mode, connector, component, name = (
                    Mode.ACCESS_CONTROL,
                    _ACCESS,
                    "door-sensors",
                    f"door-sensor-{number}",
                )
            case Happening.BUTTON:
                mode, connector, component, name = (
                    Mode.ACCESS_CONTROL,
                    _ACCESS,
                    "exit-buttons",
                    f"exit-button-{number}",
                )
            case Happening.MOTION:
                mode, connector, component, name = Mode.ALARM, _ALARM, f"motion-sensor-{number}", None
        self._set(name or component, active=event.active)
        yield self._state(mode, connector, component, time_us)

    def _state(self, mode: Mode, connector: str, component: str, time_us: int) -> Message:
        kind = TopicKind.STATUS if component.startswith(("strike-", "siren-")) else TopicKind.TELEMETRY
        if component in ("door-sensors", "exit-buttons"):
            one = component.removesuffix("s")
            inputs = {f"{one}-{number}": f"{one}-{number}" in self._on for number in (1, 2)}
            timestamp = {"timestamp": format_timestamp(time_us)}
            return self._message(kind, mode, connector, component, timestamp | inputs)
        status: StatusPayload = {"timestamp": format_timestamp(time_us), "status": component in self._on}
        return self._message(kind, mode, connector, component, status)

    def _status(self, place: F2Topic, time_us: int, *, active: bool) -> Message:
        status: StatusPayload = {"timestamp": format_timestamp(time_us), "status": active}
        return self._message(
            TopicKind.STATUS, place.mode, place.connector, place.component, status, success=place.success
        )

    def _set(self, name: str, *, active: bool) -> None:
        (self._on.add if active else self._on.discard)(name)

    def _cancel(self, strike: int) -> None:
        """Forget that people or an earlier command would switch this strike."""
        self._due = [
            event for event in self._due if event.happening is not Happening.STRIKE or event.number != strike
        ]
        heapq.heapify(self._due)

    def _end_later(self, place: F2Topic, time_us: int) -> None:
        number = int(place.component[-1])
        event = Event(time_us, _BY_COMMAND + number, Happening.STRIKE, number, active=False)
        heapq.heappush(self._due, event)

    def _message(
        self,
        kind: TopicKind,
        mode: Mode,
        connector: str,
        component: str,
        payload: Mapping[str, object],
        *,
        success: bool = False,
    ) -> Message:
        topic = str(F2Topic(kind, self.mac, mode, connector, component, success))
        return Message(topic.encode(), json.dumps(payload, ensure_ascii=False).encode())
