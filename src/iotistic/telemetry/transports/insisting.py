"""Something that a stage depends on and that may be away: what needs it is tried again until it is back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from iotistic.kernel.errors import Denied, IotisticError, Unavailable

log = structlog.get_logger()

T = TypeVar("T")

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0


class Dependency:
    """`name` is what logs call it; `lost` is called each time that it goes away."""

    def __init__(self, name: str, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._lost_event, self._back_event = f"{name}.lost", f"{name}.back"
        self.away: IotisticError | None = None
        """Why it cannot be used at the moment."""

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, trying again for as long as it raises Unavailable or Denied."""
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                result = await attempt()
            except (Unavailable, Denied) as exc:
                if self.away is None:
                    self._lost()
                    log.warning(self._lost_event, reason=exc.message)
                self.away = exc
            else:
                if self.away is not None:
                    log.info(self._back_event)
                self.away = None
                return result
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter, not a secret
            pause_s = min(pause_s * 2, _RETRY_MOST_S)
