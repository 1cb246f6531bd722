"""Asks the cloud for the next job: at this device's moment of each interval, rarely while MQTT announces jobs.

When MQTT comes or goes it asks soon: what was announced in between was not heard.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from iotistic.agent.link.pacing import Pace, seldom_while
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_RARELY = 20


class JobSource(Protocol):
    """Where jobs come from."""

    async def next_job(self) -> object | None:
        """Return the next job as it is written, None when there is none. Raises IotisticError."""
        ...


class Poller:
    """`receive` takes what came; `announces` says whether jobs are announced at the moment."""

    def __init__(
        self,
        source: JobSource,
        uuid: str,
        interval_s: float,
        receive: Callable[[object], Awaitable[None]],
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        announces: Callable[[], bool],
    ) -> None:
        pause = seldom_while(announces, otherwise_s=interval_s, seldom_s=interval_s * _RARELY)
        self._source, self._pace, self._receive = source, Pace(uuid, pause), receive
        self._interval_s = interval_s
        self._clock, self._chance, self._announces = clock, chance, announces
        self._now = asyncio.Event()

    def ask_now(self) -> None:
        """Ask without waiting."""
        self._now.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._now.clear()
            announced = self._announces()
            at = await self._ask()
            await self._rest(at, announced=announced)

    async def _ask(self) -> float:
        """Ask once; return when to ask again."""
        try:
            message = await self._source.next_job()
        except IotisticError as exc:
            log.warning("job.not_received", code=exc.code, reason=exc.message)
            retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0
            return self._pace.failed(self._clock(), self._chance(), retry_after_s=retry_after_s)
        if message is not None:
            await self._receive(message)
        return self._pace.succeeded(self._clock())

    async def _rest(self, at: float, *, announced: bool) -> None:
        longest_s = at - self._clock()  # what is left is more only by a clock that was set back
        while 0 < (left_s := at - self._clock()) <= longest_s and self._announces() is announced:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self._interval_s)):
                    await self._now.wait()
                    return
