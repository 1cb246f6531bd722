"""Tells the cloud of anomalies: ten at most, once a minute at most, and each until it is acknowledged.

What could not be told waits on the disk, and goes out ten by ten, the oldest first. A report that was acknowledged
is not sent again; one whose acknowledgement was lost is, and the cloud knows it by the ids in it. Of a report whose
content the cloud refuses each anomaly goes out alone: one that is refused alone is given up, or none would follow it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog

from iotistic.agent.anomalies.model import Anomaly
from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import CloudRefused
from iotistic.agent.link.pacing import Pace
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

MOST = 10
_LOOK_S = 60.0
_CONTENT_REFUSED = frozenset({400, 413, 422})


class Sink(Protocol):
    """Where reports go."""

    async def report(self, fields: Mapping[str, Any], purpose: Purpose = ...) -> None:
        """Return once it is there. Raises IotisticError."""
        ...


class Told(Protocol):
    """Where anomalies are kept."""

    def untold(self, now: float, count: int) -> list[Anomaly]:
        """Return what the cloud is to hear of, the oldest first."""
        ...

    async def told(self, anomalies: Iterable[Anomaly]) -> None:
        """Note that the cloud has acknowledged anomalies as they were then."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Let somebody hear that there is something to be told."""
        ...

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Let somebody hear no more."""
        ...


class AnomalyTeller:
    """Of one device and one cloud. `clock` in seconds since 1970, `chance` between 0 and 1."""

    def __init__(
        self,
        sink: Sink,
        journal: Told,
        device_uuid: str,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        every_s: float = 60.0,
    ) -> None:
        self._sink, self._journal, self._clock, self._chance = sink, journal, clock, chance
        self._every_s = every_s
        self._pace = Pace(f"{device_uuid} anomalies", every_s)
        self._at_once = MOST
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Tell until cancelled."""
        self._journal.listen(self._woken.set)
        try:
            while True:
                self._woken.clear()
                if waiting := self._journal.untold(self._clock(), self._at_once):
                    await asyncio.sleep(await self._tell(waiting))
                else:
                    self._at_once = MOST
                    await self._rest()
        finally:
            self._journal.unlisten(self._woken.set)

    async def _rest(self) -> None:
        """Wait for something to be told; how often something happened is settled without anybody saying so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_LOOK_S, self._every_s)):
                await self._woken.wait()

    async def _tell(self, waiting: list[Anomaly]) -> float:
        """Tell; return the seconds until the next report."""
        fields = {"is_online": True, "anomalies": [one.document() for one in waiting]}
        try:
            await self._sink.report(fields, Purpose.METRICS)
        except IotisticError as exc:
            log.warning("anomaly.not_told", code=exc.code, reason=exc.message)
            if isinstance(exc, CloudRefused) and exc.fields.get("status") in _CONTENT_REFUSED:
                await self._refused(waiting)
            retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0
            now = self._clock()
            return self._pace.failed(now, self._chance(), retry_after_s=retry_after_s) - now
        self._pace.failures = 0
        await self._journal.told(waiting)
        return self._every_s

    async def _refused(self, waiting: list[Anomaly]) -> None:
        """Go on without the one that the cloud will never take."""
        if len(waiting) > 1:
            self._at_once = 1
            return
        log.error("anomaly.given_up", anomaly_id=waiting[0].id)
        await self._journal.told(waiting)
        self._at_once = MOST
