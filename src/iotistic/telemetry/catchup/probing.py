"""How long the broker takes at the moment: a message to nobody, and the time until it is acknowledged.

What waits in the broker's one thread is seen by no worker: readings are received late there, and then stored
in no time.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from iotistic.kernel.errors import Denied, Unavailable
from iotistic.telemetry.catchup.reporting import REPORT_EVERY_S

PROBE_TOPIC = "iotistic/catchup/probe"


class Publisher(Protocol):
    """Publishes a message and returns once the broker has acknowledged it."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Raise Denied when the broker refuses the message, Unavailable when it does not answer."""
        ...


class BrokerProbe:
    """Asks twice a second while `run` runs."""

    def __init__(self, publisher: Publisher, clock: Callable[[], float]) -> None:
        self._publisher, self._clock = publisher, clock
        self._last_s = 0.0
        self._asked_at: float | None = None

    @property
    def delay_s(self) -> float:
        """How long the last message took, or the one under way if that is longer already."""
        under_way_s = 0.0 if self._asked_at is None else self._clock() - self._asked_at
        return max(self._last_s, under_way_s)

    async def run(self) -> None:
        """Ask until cancelled, or until the broker allows no message of this kind."""
        while True:
            self._asked_at = self._clock()
            try:
                await self._publisher.publish(PROBE_TOPIC, b"")
                self._last_s = self._clock() - self._asked_at
            except Unavailable:
                self._last_s = 0.0  # nobody asks for anything while the broker is away
            except Denied:
                self._last_s = 0.0
                return
            finally:
                self._asked_at = None
            await asyncio.sleep(REPORT_EVERY_S)
