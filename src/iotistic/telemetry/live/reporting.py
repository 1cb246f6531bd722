"""What an ingest worker tells the live feed: committed batches as they come, its totals once a second."""

import asyncio
import time

from iotistic.telemetry.live.feed import Feed
from iotistic.telemetry.live.frames import (
    EventsFrame,
    LiveEvent,
    StatsFrame,
    encode_events,
    encode_readings,
    encode_stats,
)
from iotistic.telemetry.model import Resolved
from iotistic.telemetry.transports.observing import Totals

_STATS_EVERY_S = 1.0


class LiveReporter:
    """Feeds the live feed of one worker; encodes nothing while nobody listens."""

    def __init__(self, feed: Feed, totals: Totals, *, worker: str) -> None:
        self._feed = feed
        self._totals = totals
        self._worker = worker
        self._started_at_us = _now_us()

    def committed(self, batch: Resolved) -> None:
        """Publish a stored batch."""
        if not self._feed.consumers:
            self._feed.unheard(len(batch.rows) + len(batch.events))
            return
        now_us = _now_us()
        rows = batch.rows
        if len(rows):
            self._feed.publish(
                encode_readings(now_us, rows.time_us, rows.device_id, rows.datapoint_id, rows.value)
            )
        if batch.events:
            events = [LiveEvent(e.time_us, e.device_id, e.datapoint_id, e.text) for e in batch.events]
            self._feed.publish(encode_events(EventsFrame(now_us, events)))

    async def report(self) -> None:
        """Publish the totals every second until cancelled."""
        while True:
            totals = self._totals
            frame = StatsFrame(
                worker=self._worker,
                at_us=_now_us(),
                started_at_us=self._started_at_us,
                messages_total=totals.messages,
                rows_total=totals.rows,
                events_total=totals.events,
                dead_letters_total=totals.dead_letters,
            )
            self._feed.publish(encode_stats(frame))
            await asyncio.sleep(_STATS_EVERY_S)


def _now_us() -> int:
    return time.time_ns() // 1000
