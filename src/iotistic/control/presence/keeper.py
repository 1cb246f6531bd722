"""The loop of presence: in every process that hears devices, since it also shows that somebody listens."""

import asyncio
import contextlib

import asyncpg
import structlog

from iotistic.control.presence.service import Presence
from iotistic.control.presence.settings import PresenceSettings
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_FORGET_EVERY = 1800


class PresenceKeeper:
    """Writes down, listens and sweeps, until it is stopped.

    Safe in several processes: one has the watch at a time. What is in hand when one dies is done by the next.
    """

    def __init__(self, presence: Presence, settings: PresenceSettings, *, forgets: bool = True) -> None:
        """`forgets`: whether `run` drops old history too; False where somebody else does."""
        self._forgets = forgets
        self._presence, self._every_s = presence, settings.presence_beat_s
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Run until `stop` is called; what was noticed is written down before it returns."""
        rounds = 0
        while not self._stopping.is_set():
            await self._round(forgets=self._forgets and rounds % _FORGET_EVERY == 0)
            rounds += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._stopping.wait()
        with contextlib.suppress(IotisticError, asyncpg.PostgresError, TimeoutError):
            await self._presence.flush()

    def stop(self) -> None:
        """Take up no further round."""
        self._stopping.set()

    async def _round(self, *, forgets: bool) -> None:
        try:
            # Before the sweep: whoever gave a sign is not sent away.
            await self._presence.flush()
            while await self._presence.sweep() and not self._stopping.is_set():
                pass
            if forgets:
                await self._presence.forget()
        except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
            if not self._is_failing:
                log.warning("presence.failed", reason=str(exc))
            self._is_failing = True
        else:
            self._is_failing = False
