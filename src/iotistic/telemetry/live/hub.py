"""The API's side of the live feed: one connection to each worker's socket, fanned out to watchers.

The run folder is looked at ten times a second for sockets of new workers: no watcher sees what they
commit before. A connection that ends is tried again as long as its socket stands. Nothing here waits for
a watcher: see `Subscription`.
"""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from iotistic.telemetry.live.frames import (
    EventsFrame,
    Frame,
    FrameInvalid,
    FrameReader,
    LostFrame,
    ReadingsFrame,
    StatsFrame,
)
from iotistic.telemetry.live.sockets import connected_socket
from iotistic.telemetry.live.subscription import LiveFilter, Subscription

log = structlog.get_logger()

SOCKET_PATTERN = "live-*.sock"
_SCAN_S = 0.1
_READ_BYTES = 1024 * 1024
_STALE_S = 5.0


@dataclass(frozen=True)
class WorkerFigures:
    """What one worker does now, from its last two statements."""

    totals: StatsFrame
    messages_per_s: float
    rows_per_s: float


class LiveHub:
    """Follows the workers of one installation; `run` it as a task for the life of the process.

    Without a run folder it looks for nobody: frames are handed to `dispatch`.
    """

    def __init__(self, run_folder: Path | None, *, scan_s: float = _SCAN_S) -> None:
        self._folder = run_folder
        self._scan_s = scan_s
        self._followers: dict[Path, asyncio.Task[None]] = {}
        self._subscriptions: set[Subscription] = set()
        self._figures: dict[str, tuple[float, WorkerFigures]] = {}
        self.connected = 0
        """Workers connected now."""

    async def run(self) -> None:
        """Connect to workers as they come, until cancelled."""
        try:
            while True:
                self._look_for_workers()
                await asyncio.sleep(self._scan_s)
        finally:
            self.close()
            for follower in self._followers.values():
                follower.cancel()
            await asyncio.gather(*self._followers.values(), return_exceptions=True)

    @contextmanager
    def subscribe(self, wanted: LiveFilter) -> Generator[Subscription]:
        """Watch the feed while the block runs."""
        subscription = Subscription(wanted)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @property
    def watchers(self) -> int:
        """Subscriptions open now."""
        return len(self._subscriptions)

    def figures(self) -> list[WorkerFigures]:
        """Return the figures of workers that spoke within the last seconds, by name."""
        oldest = time.monotonic() - _STALE_S
        self._figures = {name: known for name, known in self._figures.items() if known[0] >= oldest}
        return [self._figures[name][1] for name in sorted(self._figures)]

    def close(self) -> None:
        """End every subscription, so that their streams finish."""
        for subscription in self._subscriptions:
            subscription.close()

    def dispatch(self, frame: Frame) -> None:
        """Hand one frame to whom it may concern; returns at once."""
        match frame:
            case ReadingsFrame() | EventsFrame():
                for subscription in self._subscriptions:
                    subscription.offer(frame)
            case LostFrame(rows=rows):
                for subscription in self._subscriptions:
                    subscription.lose(rows)
            case StatsFrame():
                self._note(frame)

    def _look_for_workers(self) -> None:
        for path in self._folder.glob(SOCKET_PATTERN) if self._folder else ():
            follower = self._followers.get(path)
            if follower is None or follower.done():
                self._followers[path] = asyncio.create_task(self._follow(path), name=f"live {path.name}")
        for path in [path for path, task in self._followers.items() if task.done()]:
            del self._followers[path]

    async def _follow(self, path: Path) -> None:
        """Read one worker's feed until it ends; the next look at the folder starts anew."""
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(
                sock=connected_socket(path), limit=_READ_BYTES
            )
            self.connected += 1
            log.info("live_feed.connected", socket=path.name)
            try:
                await self._read(reader)
            except FrameInvalid as exc:
                log.warning("live_feed.broken", socket=path.name, reason=str(exc))
            finally:
                self.connected -= 1
                writer.close()
                log.info("live_feed.disconnected", socket=path.name)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = FrameReader()
        while data := await reader.read(_READ_BYTES):
            for frame in frames.feed(data):
                self.dispatch(frame)

    def _note(self, stats: StatsFrame) -> None:
        now = time.monotonic()
        before = self._figures.get(stats.worker)
        messages_per_s = rows_per_s = 0.0
        # A restarted worker counts from zero again: its first statement gives no rate.
        if before is not None and stats.messages_total >= before[1].totals.messages_total:
            seconds = max((stats.at_us - before[1].totals.at_us) / 1e6, 1e-3)
            messages_per_s = (stats.messages_total - before[1].totals.messages_total) / seconds
            rows_per_s = max(0.0, (stats.rows_total - before[1].totals.rows_total) / seconds)
        self._figures[stats.worker] = (now, WorkerFigures(stats, messages_per_s, rows_per_s))
