"""The second stage: series to device and datapoint ids, through a cache that hears of changes.

The cache is a pair of arrays indexed by the decoder's series numbers, so a batch of known series costs
two array look-ups. What is missing is looked up in the database, all of it at once.

A change of metadata (any of devices, connectors, pins, datapoints, templates) empties the cache; it
fills again with the series that actually arrive. A look-up during which a change came in serves its
own batch and is not kept.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from iotistic.telemetry.decode.series import SeriesTable
from iotistic.telemetry.model import (
    DeadLetter,
    Decoded,
    EventRow,
    Failure,
    Frames,
    Int32s,
    Int64s,
    Messages,
    Origin,
    Resolved,
    Rows,
    SeriesRef,
    concat_rows,
)
from iotistic.telemetry.resolve.model import Hints, Refusal, Resolution, Sensor, Series

_UNRESOLVED, _SERIES, _OTHER = 0, 1, 2
_MAX_UNIT_CHARS = 32
ADOPTED_FRAME_BYTES = 3 + 12 + 2
"""Length of a climate sensor's frame: header, twelve data bytes, checksum."""


class Directory(Protocol):
    """Where series are looked up."""

    async def look_up(self, refs: Collection[SeriesRef], hints: Hints) -> dict[SeriesRef, Resolution]:
        """Return what each of `refs` resolves to; raise Unavailable when that cannot be known now."""
        ...


class _HasUnit(msgspec.Struct):
    unit: str | None = None


_unit_decoder = msgspec.json.Decoder(_HasUnit)


class Resolver:
    """Resolves decoded batches; call `forget` whenever metadata has changed."""

    def __init__(self, directory: Directory, *, trace: bool = False) -> None:
        """`trace` makes results say which message each row came from."""
        self._directory, self._trace = directory, trace
        self._table: SeriesTable | None = None
        self._changes = 0
        self.forget()

    def forget(self) -> None:
        """Empty the cache."""
        self._changes += 1
        self._state = np.zeros(0, np.int8)
        self._device: Int32s = np.zeros(0, np.int32)
        self._datapoint: Int32s = np.zeros(0, np.int32)
        self._controller: Int32s = np.zeros(0, np.int32)
        self._others: dict[int, Sensor | Refusal] = {}

    async def resolve(self, decoded: Decoded, messages: Messages, table: SeriesTable) -> Resolved:
        """Return the rows, events and dead letters of a batch whose columns index `table`.

        Raises Unavailable when a look-up is needed and the database is away.
        """
        view = await self._view(decoded, messages, table)
        failures = list(decoded.failures)
        parts: list[_Part] = []
        for values in decoded.values:
            ok = view.state[values.series] == _SERIES
            series = values.series[ok]
            rows = Rows(view.device[series], view.datapoint[series], values.time_us[ok], values.value[ok])
            parts.append(_Part(rows, series, values.message[ok]))
            failures += view.refusals(values.series[~ok], values.message[~ok])
        for frames in decoded.frames:
            parts += view.extract(frames, failures)
        events: list[EventRow] = []
        told: list[int] = []
        for text in decoded.texts:
            if view.state[text.series] == _SERIES:
                device, datapoint = int(view.device[text.series]), int(view.datapoint[text.series])
                events.append(EventRow(device, datapoint, text.time_us, text.text))
                told.append(text.message)
            else:
                failures += view.refusals(np.array([text.series]), np.array([text.message]))
        failed = _by_message(failures)
        origin = view.origin(parts, told, list(failed)) if self._trace else None
        rows = concat_rows([part.rows for part in parts])
        letters = dead_letters(failed, messages)
        return Resolved(rows, events, letters, messages.received_us, decoded.deliveries, origin)

    async def _view(self, decoded: Decoded, messages: Messages, table: SeriesTable) -> "_View":
        if table is not self._table:
            self.forget()
            self._table = table
        self._grow(len(table))
        view = _View(self._state, self._device, self._datapoint, self._controller, self._others)
        missing = view.missing(decoded)
        if not missing:
            return view
        changes = self._changes
        refs = {table.refs[series]: series for series in missing}
        hints = Hints(_units(missing, table, messages), _foreign(decoded, table))
        found = await self._directory.look_up(list(refs), hints)
        if self._changes != changes:  # what was read may be out of date: serve this batch, keep nothing
            view = view.copy()
        for ref, resolution in found.items():
            view.learn(refs[ref], resolution, on_pin=bool(ref.connector))
        return view

    def _grow(self, size: int) -> None:
        if size > len(self._state):
            room = max(1024, size * 2) - len(self._state)
            self._state = np.append(self._state, np.zeros(room, np.int8))
            self._device = np.append(self._device, np.zeros(room, np.int32))
            self._datapoint = np.append(self._datapoint, np.zeros(room, np.int32))
            self._controller = np.append(self._controller, np.zeros(room, np.int32))


class _Part(NamedTuple):
    """Rows of one kind, with the series and the message of each."""

    rows: Rows
    series: Int64s
    message: Int64s


class _View:
    """The cache's arrays as one batch sees them."""

    def __init__(
        self,
        state: np.ndarray[tuple[int], np.dtype[np.int8]],
        device: Int32s,
        datapoint: Int32s,
        controller: Int32s,
        others: dict[int, Sensor | Refusal],
    ) -> None:
        self.state, self.device, self.datapoint, self.others = state, device, datapoint, others
        self.controller = controller

    def copy(self) -> "_View":
        arrays = (self.state.copy(), self.device.copy(), self.datapoint.copy(), self.controller.copy())
        return _View(*arrays, dict(self.others))

    def missing(self, decoded: Decoded) -> dict[int, int]:
        """Return the series that are not known yet, each with one message that speaks of it."""
        found: dict[int, int] = {}
        for column in (*decoded.values, *decoded.frames):
            unknown = self.state[column.series] == _UNRESOLVED
            if unknown.any():
                found |= zip(column.series[unknown].tolist(), column.message[unknown].tolist(), strict=True)
        for text in decoded.texts:
            if self.state[text.series] == _UNRESOLVED:
                found[text.series] = text.message
        return found

    def learn(self, series: int, resolution: Resolution, *, on_pin: bool) -> None:
        match resolution:
            case Series(device_id, datapoint_id):
                self.state[series] = _SERIES
                self.device[series], self.datapoint[series] = device_id, datapoint_id
                self.controller[series] = 0 if on_pin else device_id
            case Sensor(controller_id=controller_id):
                self.state[series] = _OTHER
                self.others[series] = resolution
                self.controller[series] = controller_id
            case Refusal():
                self.state[series] = _OTHER
                self.others[series] = resolution

    def origin(self, parts: list[_Part], events: list[int], failed: list[int]) -> Origin:
        if not parts:
            return Origin(np.zeros(0, np.int64), np.zeros(0, np.int32), events, failed)
        series = np.concatenate([part.series for part in parts])
        message = np.concatenate([part.message for part in parts])
        return Origin(message, self.controller[series], events, failed)

    def refusals(self, series: Int64s, message: Int64s) -> list[Failure]:
        failures: list[Failure] = []
        for one, place in zip(series.tolist(), message.tolist(), strict=True):
            refusal = self.others.get(one)
            if isinstance(refusal, Refusal):
                failures.append(Failure(place, refusal.reason, refusal.detail))
        return failures

    def extract(self, frames: Frames, failures: list[Failure]) -> list[_Part]:
        """Read every datapoint out of the frames, all sensors of one template at a time."""
        by_fields: dict[tuple[object, ...], list[int]] = {}
        for one in np.unique(frames.series).tolist():
            sensor = self.others.get(one)
            if isinstance(sensor, Sensor):
                by_fields.setdefault(sensor.fields, []).append(one)
                self.device[one] = sensor.device_id
            else:
                of_one = frames.series == one
                failures += self.refusals(frames.series[of_one], frames.message[of_one])
        parts: list[_Part] = []
        for members in by_fields.values():
            chosen = np.isin(frames.series, members)
            parts += self._extract_template(members[0], frames, chosen, failures)
        return parts

    def _extract_template(
        self,
        member: int,
        frames: Frames,
        chosen: np.ndarray[tuple[int], np.dtype[np.bool_]],
        failures: list[Failure],
    ) -> list[_Part]:
        sensor = self.others[member]
        if not isinstance(sensor, Sensor):
            return []
        octets, message = frames.data[chosen], frames.message[chosen]
        if octets.shape[1] - 2 < sensor.frame_bytes:
            detail = f"the template reads {sensor.frame_bytes} bytes, the frame has {octets.shape[1] - 2} before its checksum"
            failures += [Failure(place, "decode.frame_short", detail) for place in message.tolist()]
            return []
        series, time_us = frames.series[chosen], frames.time_us[chosen]
        device = self.device[series]
        parts: list[_Part] = []
        for field in sensor.fields:
            value = field.extract(octets)
            ok = np.isfinite(value)
            if not ok.all():
                detail = f"{field.label} is not a finite number"
                failures += [Failure(m, "reading.value_not_finite", detail) for m in message[~ok].tolist()]
            datapoint = np.full(int(ok.sum()), field.datapoint_id, np.int32)
            rows = Rows(device[ok], datapoint, time_us[ok], value[ok])
            parts.append(_Part(rows, series[ok], message[ok]))
        return parts


def dead_letters(failed: dict[int, list[Failure]], messages: Messages) -> list[DeadLetter]:
    """Return one dead letter per message that failed, with its first reason and all details."""
    return [
        DeadLetter(
            messages.topics[place],
            messages.payloads[place],
            found[0].reason,
            "; ".join(dict.fromkeys(failure.detail for failure in found if failure.detail))[:1000],
        )
        for place, found in failed.items()
    ]


def _by_message(failures: list[Failure]) -> dict[int, list[Failure]]:
    """Return the failures by message, in the messages' order."""
    by_message: dict[int, list[Failure]] = {}
    for failure in failures:
        by_message.setdefault(failure.message, []).append(failure)
    return dict(sorted(by_message.items()))


def _foreign(decoded: Decoded, table: SeriesTable) -> set[SeriesRef]:
    """Return the series with frames that are longer or shorter than those of an adopted sensor."""
    return {
        table.refs[series]
        for frames in decoded.frames
        if frames.data.shape[1] != ADOPTED_FRAME_BYTES
        for series in np.unique(frames.series).tolist()
    }


def _units(missing: dict[int, int], table: SeriesTable, messages: Messages) -> dict[SeriesRef, str]:
    """Return the units that payloads name for series that are met for the first time."""
    units: dict[SeriesRef, str] = {}
    for series, message in missing.items():
        try:
            unit = _unit_decoder.decode(messages.payloads[message]).unit
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if unit and len(unit) <= _MAX_UNIT_CHARS and unit.isprintable():
            units[table.refs[series]] = unit
    return units
