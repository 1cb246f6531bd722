"""The first stage: raw messages to typed columns, without knowing any device.

Each topic is parsed once and found in a dictionary after that; messages of one kind are decoded
together. Whatever cannot be decoded becomes a Failure of that message alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from iotistic.telemetry.decode import shapes
from iotistic.telemetry.decode.agent import FlatReading, flatten
from iotistic.telemetry.decode.columns import TimeWindow, add_scalars
from iotistic.telemetry.decode.frames import decode_frames
from iotistic.telemetry.decode.payloads import PayloadDecoder
from iotistic.telemetry.decode.series import SeriesTable
from iotistic.telemetry.decode.stamping import StampReader
from iotistic.telemetry.decode.topics import Kind, Route, TopicUnknown, check_name, device_ref, parse_topic
from iotistic.telemetry.model import Decoded, Failure, Int64s, Messages, SeriesRef

_SHAPES: dict[Kind, type[Any]] = {
    Kind.READING: shapes.Reading,
    Kind.SENSOR: shapes.SensorReport,
    Kind.STATUS: shapes.StatusReport,
    Kind.DOOR: shapes.DoorReport,
    Kind.EXIT: shapes.ExitReport,
    Kind.READER: shapes.ReaderReport,
    Kind.AGENT: shapes.AgentBatch,
}
_PAIRS = {
    Kind.DOOR: (("door_sensor_1", "door-sensor-1"), ("door_sensor_2", "door-sensor-2")),
    Kind.EXIT: (("exit_button_1", "exit-button-1"), ("exit_button_2", "exit-button-2")),
}
_STEP_US = 1_000_000  # a clock that was set back by more than this is followed
_stamps_of = attrgetter("timestamp")
_values_of = attrgetter("value")
_sensors_of = attrgetter("sensor_id")


@dataclass(frozen=True, slots=True)
class _Part:
    """Payloads of one kind that were decoded: their objects, routes and places in the batch.

    `received` is when each message of the batch was received.
    """

    found: Sequence[Any]
    routes: Sequence[int]
    message: Int64s
    received: Int64s


class Decoder:
    """Decodes batches; keeps the table of series it has met, which `resolve` indexes by."""

    def __init__(self, window: TimeWindow | None = None, *, max_series: int = 1_000_000) -> None:
        self._window = window or TimeWindow()
        self._max_series = max_series
        self._payloads = {kind: PayloadDecoder(shape) for kind, shape in _SHAPES.items()}
        self._free_us = 0
        self._each_us: Int64s | None = None
        self._stamps = StampReader()
        self._start_tables()

    def _start_tables(self) -> None:
        self.series = SeriesTable()
        self._routes: list[Route] = []
        self._route_of: dict[bytes, int] = {}
        self._route_series: dict[int, int] = {}
        self._reading_series: dict[tuple[int, str | int | None], int] = {}

    def decode(self, messages: Messages) -> Decoded:
        """Return what the messages say; `self.series` names the series that the columns index."""
        if max(len(self.series), len(self._routes), len(self._reading_series)) > self._max_series:
            self._start_tables()
        decoded = Decoded()
        stamps = self._stamps.start(messages)
        received = self._set_apart(messages)
        for kind, places, their_routes in self._by_kind(messages, decoded):
            if kind is Kind.REPLY:
                continue
            found, routes, message = self._decode_kind(kind, messages, places, their_routes, decoded)
            part = _Part(found, routes, message, received)
            if part.found:
                stamps.hear(part.found, part.message)
                self._read(kind, part, decoded)
        if decoded.failures:
            stamps.hear_unread([failure.message for failure in decoded.failures])
        decoded.deliveries = stamps.deliveries()
        return decoded

    def _set_apart(self, messages: Messages) -> Int64s:
        """Return times of receipt that no other message of this decoder has."""
        self._each_us = messages.each_us
        if messages.each_us is not None:
            return messages.each_us
        received_us = messages.received_us
        if received_us < self._free_us <= received_us + _STEP_US:
            received_us = self._free_us
        self._free_us = received_us + len(messages)
        return np.arange(received_us, self._free_us)

    def _decode_kind(
        self, kind: Kind, messages: Messages, message: Int64s, routes: Sequence[int], out: Decoded
    ) -> tuple[Sequence[Any], Sequence[int], Int64s]:
        payloads: list[bytes] = messages.payloads
        if len(message) != len(payloads):
            payloads = [payloads[i] for i in message.tolist()]
        found, kept, bad = self._payloads[kind].decode(payloads)
        if bad:
            out.failures += [Failure(int(message[i]), "decode.payload_invalid", why) for i, why in bad]
            routes, message = [routes[i] for i in kept], message[kept]
        return found, routes, message

    def _by_kind(self, messages: Messages, decoded: Decoded) -> Iterator[tuple[Kind, Int64s, Sequence[int]]]:
        """Yield (kind, places in the batch, routes) for each kind of message in the batch."""
        routes = list(map(self._route_of.get, messages.topics))
        if None in routes:
            routes = [
                self._learn(topic, i, decoded) if route is None else route
                for i, (topic, route) in enumerate(zip(messages.topics, routes, strict=True))
            ]
        distinct = set(routes)
        kinds = {route: self._routes[route].kind for route in distinct if route is not None and route >= 0}
        if len(set(kinds.values())) == 1 and len(kinds) == len(distinct):
            yield next(iter(kinds.values())), np.arange(len(routes)), routes  # type: ignore[misc]
            return
        for kind in sorted(set(kinds.values())):
            message = [i for i, route in enumerate(routes) if kinds.get(route) is kind]  # type: ignore[arg-type]
            yield kind, np.array(message, np.int64), [routes[i] for i in message]  # type: ignore[misc]

    def _learn(self, topic: bytes, message: int, decoded: Decoded) -> int:
        """Return the route of a topic met for the first time, or -1 after noting why it has none."""
        known = self._route_of.get(topic)
        if known is not None:
            return known
        try:
            route = parse_topic(topic)
        except TopicUnknown as exc:
            decoded.failures.append(Failure(message, exc.code, exc.message))
            return -1
        self._routes.append(route)
        self._route_of[topic] = len(self._routes) - 1
        return len(self._routes) - 1

    def _read(self, kind: Kind, part: _Part, out: Decoded) -> None:
        match kind:
            case Kind.READING:
                self._read_readings(part, out)
            case Kind.SENSOR:
                self._read_sensors(part, out)
            case Kind.STATUS:
                self._read_plain(part, attrgetter("status"), out)
            case Kind.READER:
                self._read_plain(part, attrgetter("data"), out)
            case Kind.DOOR | Kind.EXIT:
                self._read_pairs(kind, part, out)
            case Kind.AGENT:
                self._read_agents(part, out)
            case Kind.REPLY:
                pass

    def _read_readings(self, part: _Part, out: Decoded) -> None:
        sensors = list(map(_sensors_of, part.found))
        keys = list(zip(part.routes, sensors, strict=True))
        series = list(map(self._reading_series.get, keys))
        if None in series:
            series = [
                self._learn_reading(key, int(message), out) if index is None else index
                for key, index, message in zip(keys, series, part.message, strict=True)
            ]
        self._add(list(map(_values_of, part.found)), np.array(series, np.int64), part, out)

    def _learn_reading(self, key: tuple[int, str | int | None], message: int, out: Decoded) -> int:
        if key in self._reading_series:
            return self._reading_series[key]
        route, sensor = self._routes[key[0]], key[1]
        try:
            if sensor is not None:
                sensor = check_name(str(sensor))
            if route.device is None and sensor is None:
                raise TopicUnknown("a topic without a device needs the payload's sensor_id")  # noqa: TRY301
        except TopicUnknown as exc:
            out.failures.append(Failure(message, "decode.sensor_id_invalid", exc.message))
            return -1
        index = self.series.intern(_reading_series(route, sensor))
        self._reading_series[key] = index
        return index

    def _read_sensors(self, part: _Part, out: Decoded) -> None:
        framed = [i for i, report in enumerate(part.found) if report.data is not None]
        if len(framed) < len(part.found):
            apart = sorted(set(range(len(part.found))) - set(framed))
            self._read_decoded_sensors(_select(part, apart), out)
            part = _select(part, framed)
        if not part.found:
            return
        series = np.array(list(map(self._series_of, part.routes)), np.int64)
        time_us, ok = self._window.admit(list(map(_stamps_of, part.found)), part.message, part.received, out)
        if ok.any():
            texts = [report.data for report, keep in zip(part.found, ok.tolist(), strict=True) if keep]
            decode_frames(texts, series[ok], time_us[ok], part.message[ok], out)

    def _series_of(self, route: int) -> int:
        """Return the series of a route that has just one."""
        series = self._route_series.get(route)
        if series is None:
            series = self._route_series[route] = self.series.intern(self._routes[route].series())
        return series

    def _read_decoded_sensors(self, part: _Part, out: Decoded) -> None:
        """Sensors that speak JSON: the sensor_id names the quantity, as a template's datapoint does."""
        labels = ["value" if report.sensor_id is None else str(report.sensor_id) for report in part.found]
        series = [self._named(self._routes[r], label) for r, label in zip(part.routes, labels, strict=True)]
        self._add(list(map(_values_of, part.found)), self._checked(series, part, out), part, out)

    def _read_plain(self, part: _Part, value_of: Callable[[Any], Any], out: Decoded) -> None:
        series = list(map(self._series_of, part.routes))
        values = [float(v) if isinstance(v, int) else v for v in map(value_of, part.found)]
        self._add(values, np.array(series, np.int64), part, out)

    def _read_pairs(self, kind: Kind, part: _Part, out: Decoded) -> None:
        told = np.zeros(len(part.found), np.bool_)
        for field, label in _PAIRS[kind]:
            present = [i for i, report in enumerate(part.found) if getattr(report, field) is not None]
            told[present] = True
            one = _select(part, present)
            series = [
                self.series.intern(self._routes[r].series(f"{self._routes[r].label}/{label}"))
                for r in one.routes
            ]
            values = [float(getattr(report, field)) for report in one.found]
            self._add(values, np.array(series, np.int64), one, out)
        out.failures += [
            Failure(i, "reading.value_missing", "the report names neither of its two inputs")
            for i in part.message[~told].tolist()
        ]

    def _read_agents(self, part: _Part, out: Decoded) -> None:
        readings: list[FlatReading] = []
        routes: list[int] = []
        messages: list[int] = []
        for batch, route, message in zip(part.found, part.routes, part.message.tolist(), strict=True):
            flat, faults = flatten(batch, label=self._routes[route].label)
            if faults or not flat:
                detail = "; ".join(faults[:3]) or "the batch is empty"
                out.failures.append(Failure(message, "decode.agent_line_invalid", detail))
            readings += flat
            routes += [route] * len(flat)
            messages += [message] * len(flat)
        if not readings:
            return
        flat_part = _Part(readings, routes, np.array(messages, np.int64), part.received)
        series = [self._named(self._routes[r], one.label) for one, r in zip(readings, routes, strict=True)]
        column = self._checked(series, flat_part, out)
        # One message holds many readings, so its own time is not enough for those that have none.
        spare = self._spare_times(messages)
        stamps = [time if one.stamp is None else one.stamp for one, time in zip(readings, spare, strict=True)]
        nudge_us = np.array([one.nudge_us for one in readings], np.int64)
        self._add([one.value for one in readings], column, flat_part, out, stamps=stamps, nudge_us=nudge_us)

    def _spare_times(self, messages: list[int]) -> list[int]:
        """Return a time of its own for each reading of messages that hold many."""
        if self._each_us is None:
            self._free_us += len(messages)
            return list(range(self._free_us - len(messages), self._free_us))
        place = np.array(messages, np.int64)
        first = np.concatenate(([True], np.diff(place) != 0))
        within = np.arange(len(place)) - np.flatnonzero(first)[np.cumsum(first) - 1]
        return (self._each_us[place] + within).tolist()

    def _named(self, route: Route, label: str) -> int:
        try:
            return self.series.intern(route.series(check_name(label)))
        except TopicUnknown:
            return -1

    def _checked(self, series: list[int], part: _Part, out: Decoded) -> Int64s:
        column = np.array(series, np.int64)
        out.failures += [
            Failure(
                i,
                "decode.sensor_id_invalid",
                "the sensor's name is empty, too long or holds control characters",
            )
            for i in part.message[column < 0].tolist()
        ]
        return column

    def _add(
        self,
        values: list[Any],
        series: Int64s,
        part: _Part,
        out: Decoded,
        *,
        stamps: list[Any] | None = None,
        nudge_us: Int64s | None = None,
    ) -> None:
        """Add readings whose series is known (>= 0) and whose time is believed."""
        if not values:
            return
        stamps = list(map(_stamps_of, part.found)) if stamps is None else stamps
        time_us, ok = self._window.admit(stamps, part.message, part.received, out)
        if nudge_us is not None:
            time_us = time_us + nudge_us
        ok &= series >= 0
        message = part.message
        if not ok.all():
            values = [value for value, keep in zip(values, ok.tolist(), strict=True) if keep]
            series, time_us, message = series[ok], time_us[ok], message[ok]
        if values:
            add_scalars(values, series, time_us, message, out)


def _select(part: _Part, index: Sequence[int]) -> _Part:
    return _Part(
        [part.found[i] for i in index],
        [part.routes[i] for i in index],
        part.message[np.array(index, np.int64)],
        part.received,
    )


def _reading_series(route: Route, sensor: str | int | None) -> SeriesRef:
    """Return the series of a reading.

    A sensor_id that only repeats the device adds nothing; any other is part of the label, since two
    sensors that share a topic and an instant would displace each other.
    """
    if route.device is None:
        return SeriesRef(device_ref(str(sensor)), route.label)
    if sensor is None or sensor in (route.device.key, route.label):
        return SeriesRef(route.device, route.label)
    return SeriesRef(route.device, f"{route.label}/{sensor}")


__all__ = ["Decoder", "TimeWindow"]
