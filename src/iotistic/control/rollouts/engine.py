"""The loop behind rollouts: looks at each when it is due, in as many processes as there are.

A look is one transaction under the lock of its rollout's row, so two processes never do the same, and one that
is killed leaves nothing half done. Devices are told after the commit; one that does not take its target is told
again (reminding.py), and asks by itself in the end.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.devices.service import utc_now
from iotistic.control.rollouts.looking import Look, Looker
from iotistic.control.rollouts.reminding import untaken
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Surroundings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_OVERDUE = timedelta(seconds=5)
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 10.0
_TOLD_AT_ONCE = 20
_TOLD_WITHIN_S = 20.0
_REMINDS_FIRST_S, _REMINDS_EVERY_S = 10.0, 300.0
"""Soon after the start: what the process before this one was about to tell is lost. Then for what got lost elsewhere."""


class RolloutEngine:
    """Carries rollouts on until it is stopped."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        around: Surroundings,
        settings: RolloutSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._around, self._settings, self._clock = pool, around, settings, clock
        self._looker = Looker(around, batch=settings.rollout_batch, look_every_s=settings.rollout_look_s)
        self._stopping, self._poked = asyncio.Event(), asyncio.Event()
        self._is_failing = self._is_blind = False
        self._reminds_at = time.monotonic() + _REMINDS_FIRST_S

    async def run(self) -> None:
        """Run until `stop` is called; returns when the look in hand is done."""
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            self._poked.clear()
            try:
                while await self.look_once() and not self._stopping.is_set():
                    pass
                if time.monotonic() >= self._reminds_at:
                    self._reminds_at = time.monotonic() + _REMINDS_EVERY_S
                    await self.remind()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                self._note_failure(exc)
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                self._is_failing, pause_s = False, _RETRY_FIRST_S
                await self._rest(self._settings.rollout_look_s)

    def stop(self) -> None:
        """Take up no further look."""
        self._stopping.set()
        self._poked.set()

    def poke(self) -> None:
        """Look soon: somebody in this process changed a rollout."""
        self._poked.set()

    async def look_once(self) -> bool:
        """Look at one rollout that is due; say whether there was one. Raises DatabaseUnavailable."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                look = await self._looker.look(db, self._clock())
        if look is None:
            return False
        self._log(look)
        await self._announce([(str(device), one.version, one.etag) for device, one in look.announce])
        return True

    async def remind(self) -> None:
        """Tell devices again that do not report their new target, though it is a while old. Raises DatabaseUnavailable."""
        if self._around.announcer is None:
            return
        with database_errors():
            found = await untaken(self._pool, self._clock() - _OVERDUE)
        if found:
            log.info("rollout.devices_reminded", devices=len(found))
        await self._announce([(str(one.device), one.version, one.etag) for one in found])

    async def _announce(self, targets: Sequence[tuple[str, int, str]]) -> None:
        announcer = self._around.announcer
        if announcer is None or not targets:
            return
        several = asyncio.Semaphore(_TOLD_AT_ONCE)

        async def tell(device: str, version: int, etag: str) -> None:
            async with several:
                with contextlib.suppress(IotisticError):
                    await announcer.announce(device, version, etag)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TOLD_WITHIN_S):
                await asyncio.gather(*(tell(*target) for target in targets))

    def _log(self, look: Look) -> None:
        if look.silent and not self._is_blind:
            log.warning(
                "rollout.health_unknown", rollout_id=str(look.rollout.id), reason="; ".join(look.silent)
            )
        self._is_blind = bool(look.silent)
        for event in look.events:
            if event.device_uuid is None:
                log.info(
                    "rollout.went_on",
                    rollout_id=str(event.rollout_id),
                    event_kind=event.kind,
                    code=event.code,
                )
        if look.announce:
            log.info("rollout.devices_changed", rollout_id=str(look.rollout.id), devices=len(look.announce))

    def _note_failure(self, exc: Exception) -> None:
        if not self._is_failing:
            code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
            log.warning("rollout.not_looked_at", code=code, reason=str(exc))
        self._is_failing = True

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()
