"""Server-sent events: what a watcher takes from the hub, written as text in few, large pieces."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import msgspec
import numpy as np

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.live.frames import LiveEvent, ReadingsFrame
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.subscription import Delivery, LiveFilter

HEARTBEAT_S = 15.0
RETRY_MS = 2_000
_PIECE_ROWS = 1_000
_LABELS_KEPT_S = 30.0

Labels = dict[int, tuple[str, str | None]]
"""Datapoint id -> label and unit."""

LookUp = Callable[[list[int]], Awaitable[Labels]]


class LabelBook:
    """Labels of datapoints, asked for when first met and again after half a minute."""

    def __init__(self, look_up: LookUp, *, kept_s: float = _LABELS_KEPT_S) -> None:
        self._look_up = look_up
        self._kept_s = kept_s
        self._known: Labels = {}
        self._since = time.monotonic()

    async def of(self, datapoint_ids: set[int]) -> Labels:
        """Return what is known of these; a database that is away leaves gaps, not errors."""
        if time.monotonic() - self._since > self._kept_s:
            self._known, self._since = {}, time.monotonic()
        if missing := sorted(datapoint_ids - self._known.keys()):
            try:
                self._known |= await self._look_up(missing)
            except Unavailable:
                return self._known
        return self._known


async def event_stream(
    hub: LiveHub, wanted: LiveFilter, labels: LabelBook, *, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """Yield the feed for one watcher until the hub closes: readings, texts, what was dropped, heartbeats."""
    with hub.subscribe(wanted) as subscription:
        yield f"retry: {RETRY_MS}\n: connected\n\n".encode()
        while not subscription.closed:
            delivery = await subscription.take(within_s=heartbeat_s)
            if delivery is None:
                yield b": heartbeat\n\n"
                continue
            for piece in _pieces(delivery, await labels.of(_datapoints(delivery))):
                yield piece


def _datapoints(delivery: Delivery) -> set[int]:
    found = {event.datapoint_id for event in delivery.events}
    for frame in delivery.readings:
        found.update(np.unique(frame.datapoint_ids).tolist())
    return found


def _pieces(delivery: Delivery, labels: Labels) -> Iterator[bytes]:
    if delivery.dropped:
        yield _event("dropped", {"rows": delivery.dropped})
    for frame in delivery.readings:
        yield from _readings(frame, labels)
    for event in delivery.events:
        yield _event("text", _text_reading(event, labels))


def _readings(frame: ReadingsFrame, labels: Labels) -> Iterator[bytes]:
    """Write rows with the constant parts of a series made once: 50,000 rows a second have to go through."""
    names = {number: _name(labels, number) for number in np.unique(frame.datapoint_ids).tolist()}
    times: Sequence[str] = np.datetime_as_string(frame.timestamps.astype("datetime64[us]")).tolist()
    values = [repr(value) if np.isfinite(value) else "null" for value in frame.values.tolist()]
    devices, datapoints = frame.device_ids.tolist(), frame.datapoint_ids.tolist()
    lines = [
        f'event: reading\ndata: {{"device_id":{device},{names[datapoint]},"timestamp":"{at}Z","value":{value}}}\n\n'
        for device, datapoint, at, value in zip(devices, datapoints, times, values, strict=True)
    ]
    for start in range(0, len(lines), _PIECE_ROWS):
        yield "".join(lines[start : start + _PIECE_ROWS]).encode()


def _name(labels: Labels, datapoint_id: int) -> str:
    label, unit = labels.get(datapoint_id, (None, None))
    members = {"datapoint_id": datapoint_id, "label": label, "unit": unit}
    return msgspec.json.encode(members).decode()[1:-1]


def _text_reading(event: LiveEvent, labels: Labels) -> dict[str, object]:
    label, unit = labels.get(event.datapoint_id, (None, None))
    at = np.datetime_as_string(np.datetime64(event.timestamp_us, "us"))
    return {
        "device_id": event.device_id,
        "datapoint_id": event.datapoint_id,
        "label": label,
        "unit": unit,
        "timestamp": f"{at}Z",
        "value": event.value,
    }


def _event(name: str, data: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
