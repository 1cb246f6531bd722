"""Lines of a device as they come, as server-sent events.

    upload --bell, in this process--> follower --reads on by number--> events
                  once a second, for uploads that other processes take

An event's id is the number of its line: a client that comes back with Last-Event-ID misses nothing that is still
kept. A follower that reads slowly is read for slowly; nothing is gathered for it in memory.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Generator

import asyncpg
import msgspec

from iotistic.control.devicelogs import repository
from iotistic.control.devicelogs.repository import LineFilter
from iotistic.control.devicelogs.shapes import shown
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.pool import database_errors

_LOOK_EVERY_S = 1.0
_HEARTBEAT_LOOKS = 15
_AT_ONCE = 500
_RETRY_MS = 2000


class FollowersTooMany(Unavailable):
    """Too many follow logs at once; try again later."""

    code = "logs.too_many_followers"


class Bell:
    """Wakes those who follow a device."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    def ring(self, number: int) -> None:
        """Wake them."""
        for event in self._waiting.get(number, ()):
            event.set()

    @contextlib.contextmanager
    def heard(self, number: int) -> Generator[asyncio.Event]:
        """Give an event that is set when it rings."""
        event = asyncio.Event()
        self._waiting[number].add(event)
        try:
            yield event
        finally:
            self._waiting[number].discard(event)
            if not self._waiting[number]:
                del self._waiting[number]


class Followers:
    """Those who follow, in one process."""

    def __init__(self, pool: asyncpg.Pool, bell: Bell, *, most: int) -> None:
        self._pool, self._bell, self._most, self._count = pool, bell, most, 0

    def check(self) -> None:
        """Raise FollowersTooMany while there is room for no other."""
        if self._count >= self._most:
            raise FollowersTooMany(retry_after_s=30, hint="close another view, or wait", limit=self._most)

    async def newest(self, number: int) -> int:
        """Return the number of the line that was kept last."""
        with database_errors():
            return await repository.newest_number(self._pool, number)

    async def follow(self, number: int, wanted: LineFilter, after: int) -> AsyncIterator[bytes]:
        """Yield events for ever: lines that were kept after the one of this number."""
        self._count += 1
        try:
            yield f"retry: {_RETRY_MS}\n: connected\n\n".encode()
            with self._bell.heard(number) as rung:
                async for part in self._events(number, wanted, after, rung):
                    yield part
        finally:
            self._count -= 1

    async def _events(
        self, number: int, wanted: LineFilter, after: int, rung: asyncio.Event
    ) -> AsyncIterator[bytes]:
        quiet = 0
        while True:
            rung.clear()
            rows: list[asyncpg.Record] = []
            # When the database is away the stream waits for it.
            with contextlib.suppress(Unavailable), database_errors():
                rows = await repository.following(self._pool, number, wanted, after, _AT_ONCE)
            if rows:
                after, quiet = rows[-1]["seq"], 0
                if events := b"".join(_event(row) for row in rows if row["fits"]):
                    yield events
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await rung.wait()
            quiet += 1
            if quiet % _HEARTBEAT_LOOKS == 0:
                yield b": heartbeat\n\n"


def _event(row: asyncpg.Record) -> bytes:
    return b"id: %d\nevent: line\ndata: %b\n\n" % (row["seq"], msgspec.json.encode(shown(row)))
