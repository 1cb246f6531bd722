"""Use cases: raw rows and text readings of a device, page by page in both directions, or as one stream."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.parameters import Direction, EventsQuery, ReadingsQuery
from iotistic.telemetry.query.references import Key, decode_cursor, encode_cursor
from iotistic.telemetry.query.repository import QueryRepository, Window
from iotistic.telemetry.query.schemas import EventPage, Reading, ReadingPage, TextEvent
from iotistic.telemetry.query.series import range_of
from iotistic.telemetry.query.times import from_us, to_us
from iotistic.telemetry.statements import Record

_PAGE_ROWS = 1_000
_STREAM_ROWS = 5_000
_NO_ID = -1
_BEFORE, _AFTER = "readings.before", "readings.after"
_EVENTS = "events.before"

Place = tuple[datetime, int]
"""A row's place in time: timestamp and datapoint id."""


class ReadingQueries:
    """Answers raw rows and text readings."""

    def __init__(self, repository: QueryRepository, devices: DeviceQueries) -> None:
        self._repository = repository
        self._devices = devices

    async def page(self, device_text: str, query: ReadingsQuery) -> ReadingPage:
        """Return one page of rows; the cursor says from which place on, and in which direction."""
        window, names = await self._window(device_text, query)
        limit = query.limit or _PAGE_ROWS
        newest_first = query.order is Direction.NEWEST_FIRST
        backwards, place = _start(window, query)
        if backwards:
            rows = await self._repository.readings_before(window, place, limit + 1)
        else:
            rows = await self._repository.readings_after(window, place, limit + 1)
        more, rows = len(rows) > limit, list(rows[:limit])
        along = backwards is newest_first
        if not along:
            rows.reverse()
        return ReadingPage(
            device_id=window.device_id,
            items=[_reading(row, names) for row in rows],
            next_cursor=_cursor(rows[-1], backwards=newest_first) if rows and (more or not along) else None,
            previous_cursor=_cursor(rows[0], backwards=not newest_first)
            if rows
            else query.cursor and _turned(query.cursor),
        )

    async def stream(self, device_text: str, query: ReadingsQuery) -> AsyncIterator[list[Reading]]:
        """Return an iterator of lists of rows, in order, that reads as it goes: memory stays small.

        The device and the datapoints are looked up before this returns, so that faults become an answer.
        """
        window, names = await self._window(device_text, query)
        return self._stream(window, names, query)

    async def _stream(
        self, window: Window, names: dict[int, Record], query: ReadingsQuery
    ) -> AsyncIterator[list[Reading]]:
        backwards, place = _start(window, query)
        left = query.limit
        while left is None or left > 0:
            limit = _STREAM_ROWS if left is None else min(left, _STREAM_ROWS)
            if backwards:
                rows = await self._repository.readings_before(window, place, limit)
            else:
                rows = await self._repository.readings_after(window, place, limit)
            if rows:
                yield [_reading(row, names) for row in rows]
                place = rows[-1]["timestamp"], rows[-1]["datapoint_id"]
            if len(rows) < limit:
                return
            left = None if left is None else left - len(rows)

    async def events(self, device_text: str, query: EventsQuery) -> EventPage:
        """Return one page of text readings, newest first."""
        span = range_of(query.start, query.end)
        device = await self._devices.find(device_text)
        chosen = await self._devices.chosen_datapoints(device, query.datapoint) if query.datapoint else []
        window = Window(device["id"], [row["id"] for row in chosen], from_us(span.start), from_us(span.end))
        before = (window.end, _NO_ID, "")
        if query.cursor:
            _, (at, datapoint_id, text) = decode_cursor(
                query.cursor, _EVENTS, keys=(Key.TIME, Key.ID, Key.TEXT)
            )
            before = (from_us(int(at)), int(datapoint_id), str(text))
        rows = await self._repository.events_before(window, before, query.limit + 1)
        items = [TextEvent.model_validate(dict(row)) for row in rows[: query.limit]]
        more = items[-1] if len(rows) > query.limit else None
        cursor = more and encode_cursor(_EVENTS, to_us(more.timestamp), more.datapoint_id, more.value)
        return EventPage(device_id=device["id"], items=items, next_cursor=cursor)

    async def _window(self, device_text: str, query: ReadingsQuery) -> tuple[Window, dict[int, Record]]:
        span = range_of(query.start, query.end)
        device = await self._devices.find(device_text)
        chosen: Sequence[Record]
        if query.datapoint:
            chosen = await self._devices.chosen_datapoints(device, query.datapoint)
        else:
            chosen = await self._repository.shown_datapoints(device["id"])
        names = {row["id"]: row for row in chosen}
        return Window(device["id"], list(names), from_us(span.start), from_us(span.end)), names


def _start(window: Window, query: ReadingsQuery) -> tuple[bool, Place]:
    """Return whether to read backwards in time, and from which place: the cursor's, or the range's end.

    A cursor may lie outside the range when the range is relative to now; then the range wins.
    """
    backwards = query.order is Direction.NEWEST_FIRST
    first, last = (window.start, _NO_ID), (window.end, _NO_ID)
    if not query.cursor:
        return backwards, last if backwards else first
    kind, (at, datapoint_id) = decode_cursor(query.cursor, _BEFORE, _AFTER, keys=(Key.TIME, Key.ID))
    place = from_us(int(at)), int(datapoint_id)
    return kind == _BEFORE, min(place, last) if kind == _BEFORE else max(place, first)


def _cursor(row: Record, *, backwards: bool) -> str:
    return encode_cursor(_BEFORE if backwards else _AFTER, to_us(row["timestamp"]), row["datapoint_id"])


def _turned(cursor: str) -> str:
    """Return the cursor for the other direction at the same place: the way back from an empty page."""
    kind, keys = decode_cursor(cursor, _BEFORE, _AFTER, keys=(Key.TIME, Key.ID))
    return encode_cursor(_AFTER if kind == _BEFORE else _BEFORE, *keys)


def _reading(row: Record, names: dict[int, Record]) -> Reading:
    name = names[row["datapoint_id"]]
    return Reading(
        timestamp=row["timestamp"],
        datapoint_id=row["datapoint_id"],
        label=name["label"],
        unit=name["unit"],
        value=row["value"],
        received_at=row["received_at"],
    )
