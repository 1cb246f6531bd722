"""Devices that do not report the target that was deployed for them are told of it again.

    deployed --1 min--> told again --1--> again --2--> again --4 ... --32 min--> for the last time

Devices are told after the commit: what waits in a process that is killed then is lost, as is what a killed broker had
acknowledged; and a device that is told of news asks by itself twice an hour only. One that has the target already does
nothing about a reminder, and one that was away asks when it comes back.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.devices.repository import Database
from iotistic.control.states.repository import REPORTED_VERSION
from iotistic.control.states.service import Announcer
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_EVERY_S = 20.0
_AGES = tuple(timedelta(minutes=2**power) for power in range(6))
_LOOKS_BACK = timedelta(hours=1)
_MOST = 20_000
# $1, $2: ages as times of deployment, each a range; $3 most. The newest first: who was told for long is not there.
_UNTAKEN = f"""
SELECT t.device_uuid, t.version, t.etag
FROM unnest($1::timestamptz[], $2::timestamptz[]) AS due (since, until)
JOIN device_targets t ON t.deployed_at >= due.since AND t.deployed_at < due.until
JOIN fleet_devices d ON d.uuid = t.device_uuid AND d.is_active
LEFT JOIN device_states s ON s.device_uuid = t.device_uuid
WHERE t.version > 1 AND t.version IS DISTINCT FROM {REPORTED_VERSION}
ORDER BY t.deployed_at DESC, t.device_uuid LIMIT $3
"""  # noqa: S608  constant


@dataclass(frozen=True, slots=True)
class Untaken:
    """A target that its device does not report."""

    device: UUID
    version: int
    etag: str


async def untaken(db: Database, ranges: Sequence[tuple[datetime, datetime]]) -> Sequence[Untaken]:
    """Return the targets that were deployed within ranges of time, and whose devices report another version."""
    since, until = zip(*ranges, strict=True)
    rows = await db.fetch(_UNTAKEN, list(since), list(until), _MOST)
    return [Untaken(row["device_uuid"], row["version"], row["etag"]) for row in rows]


class TargetReminder:
    """Tells devices again until it is stopped. Several are safe: each tells a few more that they know already."""

    def __init__(self, pool: asyncpg.Pool, announcer: Announcer, *, clock: Callable[[], datetime]) -> None:
        self._pool, self._announcer, self._clock = pool, announcer, clock
        self._looked_at: datetime | None = None
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Run until `stop` is called."""
        while not self._stopping.is_set():
            try:
                await self.look()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                if not self._is_failing:
                    log.warning("targets.not_looked_at", reason=str(exc))
                self._is_failing = True
            else:
                self._is_failing = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Take up no further look."""
        self._stopping.set()

    async def look(self) -> int:
        """Tell those that are due; the first look, of the whole last hour. Raises DatabaseUnavailable."""
        now = self._clock()
        with database_errors():
            found = await untaken(self._pool, self._due(now))
        for one in found:
            await self._announcer.announce(str(one.device), one.version, one.etag)
        # Not before: a look that failed is made up for by the next.
        self._looked_at = now
        if found:
            log.info("targets.reminded", devices=len(found))
        return len(found)

    def _due(self, now: datetime) -> list[tuple[datetime, datetime]]:
        if self._looked_at is None or now - self._looked_at > _LOOKS_BACK:
            return [(now - _LOOKS_BACK, now - _AGES[0])]
        return [(self._looked_at - age, now - age) for age in _AGES]
