"""The loops of the trail: seal every two seconds, keep the partitions every hour.

Any number of processes may run it. A failure of the database ends no loop: it is logged once, and tried again
with growing pauses; what was under way was rolled back.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg
import structlog

from iotistic.control.audit.partitions import Partitions
from iotistic.control.audit.sealing import Sealer
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.audit.trail import utc_now
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_KEEP_EVERY_S = 3600.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 30.0


class AuditKeeper:
    """Keeps the trail of one database until it is stopped."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: AuditSettings,
        *,
        keeps: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`keeps`: whether `run` calls `keep` too; False where somebody else does."""
        self._keeps = keeps
        self._settings, self._clock = settings, clock
        self._sealer, self._partitions = Sealer(pool, clock=clock), Partitions(pool, settings)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until `stop` is called; returns when the round in hand is done."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat("seal", self._sealer.seal, self._settings.audit_seal_every_s))
            if self._keeps:
                tasks.create_task(self._repeat("keep", self.keep, _KEEP_EVERY_S))

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def keep(self) -> None:
        """Make partitions ahead and drop old ones; of several processes one does it."""
        await self._partitions.keep(self._clock())

    async def _repeat(self, name: str, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        pause_s, is_failing = _RETRY_FIRST_S, False
        while not self._stopping.is_set():
            try:
                await work()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                if not is_failing:
                    log.warning("audit.failed", loop=name, reason=str(exc))
                is_failing = True
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                pause_s, is_failing = _RETRY_FIRST_S, False
                await self._rest(every_s)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
