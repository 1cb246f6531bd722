"""The last lines of everybody, in memory, and those that come, for whoever wants them.

Nobody who listens can hold up a line: a follower that is too slow loses the oldest that wait for it, and is
told how many. The ring has three bounds: lines, age, and bytes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType

_OF_AN_ENTRY = 400
"""Bytes that an entry takes besides its text, about."""
_MOST_WAITING = 1000

Listener = Callable[[LogEntry], None]


@dataclass(eq=False)
class _Follower:
    service: str | None
    waiting: deque[LogEntry] = field(default_factory=deque[LogEntry])
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: int = 0


class LogHub:
    """`clock` in seconds since 1970. All calls are for the thread of the event loop."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        most: int = 1000,
        most_age_s: float = 3600.0,
        most_bytes: int = 4 << 20,
    ) -> None:
        self._clock, self._most_age_s, self._most_bytes = clock, most_age_s, most_bytes
        self.most = most
        """How many lines are kept."""
        self._ring: deque[LogEntry] = deque()
        self._bytes = 0
        self._listeners: list[Listener] = []
        self._followers: set[_Follower] = set()
        self.lost = 0
        """Lines that followers were too slow for."""

    @property
    def held_bytes(self) -> int:
        """How much memory the ring takes, about."""
        return self._bytes

    def listen(self, listener: Listener) -> None:
        """Hand each line that comes to `listener`, which is to be quick and to raise nothing."""
        self._listeners.append(listener)

    def add(self, entry: LogEntry) -> None:
        """Take a line."""
        self._ring.append(entry)
        self._bytes += _size(entry)
        while len(self._ring) > self.most or self._bytes > self._most_bytes:
            self._drop_oldest()
        self._drop_old()
        for listener in self._listeners:
            listener(entry)
        for follower in self._followers:
            if entry.is_of(follower.service):
                self._hand(follower, entry)

    def recent(self, n: int, service: str | None = None) -> list[LogEntry]:
        """Return the last `n` lines, of one service (by name or id) or of everybody, the oldest first."""
        self._drop_old()
        found: list[LogEntry] = []
        for entry in reversed(self._ring):
            if len(found) >= n:
                break
            if entry.is_of(service):
                found.append(entry)
        return found[::-1]

    async def follow(self, service: str | None = None, *, recent: int = 0) -> AsyncIterator[LogEntry]:
        """Yield the last `recent` lines and then those that come, none of them twice and none left out."""
        follower = _Follower(service)
        self._followers.add(follower)
        try:
            for entry in self.recent(recent, service):
                yield entry
            while True:
                await follower.woken.wait()
                if follower.lost:
                    yield self._lost(follower)
                if follower.waiting:
                    yield follower.waiting.popleft()
                if not follower.waiting and not follower.lost:
                    follower.woken.clear()
        finally:
            self._followers.discard(follower)

    def _hand(self, follower: _Follower, entry: LogEntry) -> None:
        if len(follower.waiting) >= _MOST_WAITING:
            follower.waiting.popleft()
            follower.lost += 1
            self.lost += 1
        follower.waiting.append(entry)
        follower.woken.set()

    def _lost(self, follower: _Follower) -> LogEntry:
        count, follower.lost = follower.lost, 0
        now = int(self._clock() * 1000)
        message = f"{count:,} line{'s were' if count > 1 else ' was'} not shown: they came too fast"
        source = Source(SourceType.SYSTEM, "logs")
        return LogEntry(f"lost-{now:x}-{count}", message, now, Level.WARN, source, is_system=True)

    def _drop_old(self) -> None:
        oldest = (self._clock() - self._most_age_s) * 1000
        while self._ring and self._ring[0].timestamp < oldest:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= _size(self._ring.popleft())


def _size(entry: LogEntry) -> int:
    return len(entry.message) + _OF_AN_ENTRY
