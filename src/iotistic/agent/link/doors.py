"""When a device may knock at the broker: a fleet that was cut off together does not come back together.

lost        at this device's own moment of the spread, after a connection that stood
refused     15 s, doubled up to 15 min: a wrong password does not get better, and each try costs a handshake
otherwise   as the client's own back-off says
"""

import asyncio
from collections.abc import Awaitable, Callable

from iotistic.agent.link.pacing import Pace, slot_s


class Door:
    """The gate of one device's client. `clock` is monotonic, `chance` between 0 and 1."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        chance: Callable[[], float],
        *,
        spread_s: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._slot_s = slot_s(name, spread_s) if spread_s else 0.0
        self._refusals = Pace(name, 0)
        self._clock, self._chance, self._sleep = clock, chance, sleep
        self._not_before = 0.0

    async def enter(self) -> None:
        """Return when it is this device's turn."""
        wait_s = self._not_before - self._clock()
        if wait_s > 0:
            await self._sleep(wait_s)

    def leave(self) -> None:
        """Nothing: nobody else waits at this door."""

    def lost(self) -> None:
        """Note that a connection that stood is gone."""
        self._not_before = self._clock() + self._slot_s

    def refused(self) -> None:
        """Note that the broker did not let us in."""
        self._not_before = self._refusals.failed(self._clock(), self._chance())

    def welcomed(self) -> None:
        """Note that we are in."""
        self._refusals.failures = 0
