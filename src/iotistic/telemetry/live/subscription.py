"""One watcher of the live feed: what it asked for, and a bounded queue of what it has not taken yet.

The filter works on arrays, so that rows nobody asked for never become Python objects. When the watcher
is slow the oldest batches give way, and it is told how many rows it lost before it gets newer ones.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iotistic.telemetry.live.frames import EventsFrame, LiveEvent, ReadingsFrame

QUEUE_ROWS = 20_000


@dataclass(frozen=True)
class LiveFilter:
    """Ids to let through; an empty collection lets everything through."""

    device_ids: frozenset[int] = frozenset()
    datapoint_ids: frozenset[int] = frozenset()

    def readings(self, frame: ReadingsFrame) -> ReadingsFrame | None:
        """Return the rows of `frame` that match, or None when there are none."""
        if not self.device_ids and not self.datapoint_ids:
            return frame
        chosen = np.ones(len(frame), np.bool_)
        if self.device_ids:
            chosen &= _among(frame.device_ids, self.device_ids)
        if self.datapoint_ids:
            chosen &= _among(frame.datapoint_ids, self.datapoint_ids)
        if not chosen.any():
            return None
        return ReadingsFrame(
            committed_at_us=frame.committed_at_us,
            timestamps=frame.timestamps[chosen],
            device_ids=frame.device_ids[chosen],
            datapoint_ids=frame.datapoint_ids[chosen],
            values=frame.values[chosen],
        )

    def events(self, frame: EventsFrame) -> list[LiveEvent]:
        """Return the text readings of `frame` that match."""
        return [
            event
            for event in frame.events
            if (not self.device_ids or event.device_id in self.device_ids)
            and (not self.datapoint_ids or event.datapoint_id in self.datapoint_ids)
        ]


@dataclass
class Delivery:
    """What a watcher takes at once: rows lost first, then batches in their order."""

    dropped: int = 0
    readings: list[ReadingsFrame] = field(default_factory=list[ReadingsFrame])
    events: list[LiveEvent] = field(default_factory=list[LiveEvent])


class Subscription:
    """A watcher's bounded queue; filled by the hub, taken by one task."""

    def __init__(self, wanted: LiveFilter, *, queue_rows: int = QUEUE_ROWS) -> None:
        self._wanted = wanted
        self._queue_rows = queue_rows
        self._batches: deque[ReadingsFrame | list[LiveEvent]] = deque()
        self._rows = 0
        self._dropped = 0
        self._ready = asyncio.Event()
        self.closed = False

    def offer(self, frame: ReadingsFrame | EventsFrame) -> None:
        """Queue what matches; the oldest batches give way when the watcher is slow."""
        if isinstance(frame, ReadingsFrame):
            batch = self._wanted.readings(frame)
        else:
            batch = self._wanted.events(frame)
        if not batch:
            return
        self._batches.append(batch)
        self._rows += len(batch)
        while self._rows > self._queue_rows and len(self._batches) > 1:
            oldest = self._batches.popleft()
            self._rows -= len(oldest)
            self._dropped += len(oldest)
        self._ready.set()

    def lose(self, rows: int) -> None:
        """Count rows that were lost before they got here; an unfiltered guess for a filtered watcher."""
        self._dropped += rows
        self._ready.set()

    def close(self) -> None:
        """Wake the watcher up for the last time."""
        self.closed = True
        self._ready.set()

    async def take(self, *, within_s: float) -> Delivery | None:
        """Wait for something to deliver and return all of it, or None after `within_s` or when closed."""
        try:
            async with asyncio.timeout(within_s):
                await self._ready.wait()
        except TimeoutError:
            return None
        if self.closed:
            return None
        self._ready.clear()
        delivery = Delivery(dropped=self._dropped)
        for batch in self._batches:
            if isinstance(batch, ReadingsFrame):
                delivery.readings.append(batch)
            else:
                delivery.events.extend(batch)
        self._batches.clear()
        self._rows = self._dropped = 0
        return delivery


def _among(ids: NDArray[np.int32], wanted: Collection[int]) -> NDArray[np.bool_]:
    """Compare with one id, which is the common case, several times faster than with a set."""
    if len(wanted) == 1:
        return np.equal(ids, next(iter(wanted)))
    return np.isin(ids, np.fromiter(wanted, np.int32, len(wanted)))
