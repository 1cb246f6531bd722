"""How a process that stores messages is doing, said twice a second.

The stage itself only leaves a number behind at each commit. The report goes through a connection of its own,
so that neither waits for the other; while the database is away nothing is said, which says enough.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from socket import gethostname
from typing import TYPE_CHECKING, Protocol

import asyncpg
import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import database_errors, open_connection
from iotistic.kernel.postgres.queries import load_queries

if TYPE_CHECKING:  # numpy, which maintenance has no other use for
    from iotistic.telemetry.model import Resolved

log = structlog.get_logger()

REPORT_EVERY_S = 0.5
_RETRY_S = 2.0
_WITHIN_S = 5.0
_MOST_CHARS = 200
_SQL = load_queries("iotistic.telemetry.catchup")


class Watchers(Protocol):
    """Those who are told of a batch once it is stored."""

    def committed(self, batch: "Resolved") -> None:
        """Hear of a stored batch; must return at once."""
        ...


class Meter:
    """Hears of each stored batch; `onward` hears of it too."""

    def __init__(self, onward: Watchers | None = None) -> None:
        self._onward = onward
        self._longest_us = 0
        self.batches = 0
        self.stamped = 0
        """Messages with a stamp that were stored."""

    def committed(self, batch: "Resolved") -> None:
        """Note how long a batch took."""
        self._longest_us = max(self._longest_us, time.time_ns() // 1000 - batch.received_us)
        self.batches += 1
        if batch.deliveries is not None:
            self.stamped += len(batch.deliveries)
        if self._onward is not None:
            self._onward.committed(batch)

    def take_longest_s(self) -> float:
        """Return the longest time from receipt to commit since this was asked last."""
        longest_us, self._longest_us = self._longest_us, 0
        return longest_us / 1e6


@dataclass(frozen=True)
class Reported:
    """Where the figures of a stage are read."""

    stored: Callable[[], int]
    waiting: Callable[[], int]
    idle: Callable[[], bool]
    away: Callable[[], IotisticError | None]


class DelayWatch:
    """The longest time from receipt to commit within the last second; while nothing commits, it grows."""

    def __init__(self, meter: Meter, idle: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._meter, self._idle, self._clock = meter, idle, clock
        self._before_s = 0.0
        self._batches = 0
        self._held_since: float | None = None

    def look(self) -> float:
        """Return the delay now, in seconds; to be called every REPORT_EVERY_S."""
        now = self._clock()
        longest_s = self._meter.take_longest_s()
        if self._idle():
            self._held_since = None
        elif self._held_since is None or self._meter.batches != self._batches:
            self._held_since = now
        self._batches = self._meter.batches
        held_s = 0.0 if self._held_since is None else now - self._held_since
        delay_s, self._before_s = max(longest_s, self._before_s, held_s), longest_s
        return delay_s


class LoadReporter:
    """Reports for one process; `lane` and `process` name it."""

    def __init__(self, dsn: Dsn, meter: Meter, reported: Reported, *, lane: str, process: str) -> None:
        self._dsn, self._reported = dsn, reported
        self._delay = DelayWatch(meter, reported.idle, time.monotonic)
        self._lane, self._name = lane, process
        self._process = f"{process}@{gethostname()}:{os.getpid()}"
        self._started_at = datetime.now(UTC)

    async def report(self) -> None:
        """Report until cancelled."""
        while True:
            try:
                with database_errors():
                    await self._report_on_one_connection()
            except (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
                log.debug("load.not_reported", reason=str(exc))
            await asyncio.sleep(_RETRY_S)

    async def _report_on_one_connection(self) -> None:
        connection = await open_connection(self._dsn, application_name=f"{self._name}-load")
        try:
            # The table is not logged, so there is nothing that a commit would have to wait for.
            await connection.execute("SET synchronous_commit = off", timeout=_WITHIN_S)
            await connection.execute(_SQL["forget_loads"], timeout=_WITHIN_S)
            while True:
                await connection.execute(_SQL["report"], *self._figures(), timeout=_WITHIN_S)
                await asyncio.sleep(REPORT_EVERY_S)
        finally:
            connection.terminate()

    def _figures(self) -> tuple[object, ...]:
        reported = self._reported
        away = reported.away()
        return (
            *(self._lane, self._process, self._started_at),
            *(reported.stored(), self._delay.look(), reported.waiting()),
            None if away is None else away.message[:_MOST_CHARS],
        )
