"""Tells the cloud how the device is: what changed, soon after it did; figures of the machine now and then.

What could not be told waits here as what it is now, not as what it was: the newest state is the whole truth.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.pacing import Pace
from iotistic.agent.reporting.deltas import Deltas
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_GATHER_S = 1.0
"""Changes come in bursts: an update is four or five of them within a second."""


class ReportSink(Protocol):
    """Where reports go."""

    async def report(self, fields: Mapping[str, Any], purpose: Purpose = ...) -> None:
        """Return once it is there. Raises IotisticError."""
        ...


class Teller:
    """`state` gives the whole state, `metrics` the figures of the machine."""

    def __init__(
        self,
        sink: ReportSink,
        pace: Pace,
        *,
        state: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float],
        chance: Callable[[], float],
        metrics_every_s: Callable[[], float] = lambda: 300.0,
        deltas: Deltas | None = None,
    ) -> None:
        self._sink, self._pace, self._clock, self._chance = sink, pace, clock, chance
        self._state, self._metrics, self._metrics_every_s = state, metrics, metrics_every_s
        self._changed = asyncio.Event()
        self._told_at = float("-inf")
        self.deltas = deltas or Deltas()

    def changed(self) -> None:
        """Tell soon: something happened."""
        self._changed.set()

    def doubt(self) -> None:
        """Tell everything again at the next moment: what was told last may have been lost on its way."""
        self.deltas.forget()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            self._changed.clear()
            at, failed = await self._tell()
            await self._rest(at, heedless=failed)

    async def _rest(self, at: float, *, heedless: bool) -> None:
        """Wait for a change or the next moment; after a failure only for the moment."""
        if heedless:
            await asyncio.sleep(max(0.0, at - self._clock()))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, at - self._clock())):
                await self._changed.wait()
                await asyncio.sleep(_GATHER_S)

    async def _tell(self) -> tuple[float, bool]:
        """Tell what the cloud does not know; return when to look again, and whether it failed."""
        try:
            await self._tell_state()
            await self._tell_metrics()
        except IotisticError as exc:
            log.warning("report.not_sent", code=exc.code, reason=exc.message)
            retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0
            return self._pace.failed(self._clock(), self._chance(), retry_after_s=retry_after_s), True
        return self._pace.succeeded(self._clock()), False

    async def _tell_state(self) -> None:
        delta = self.deltas.next(self._state())
        if delta is not None:
            await self._sink.report(delta.fields, Purpose.CONTROL)
            self.deltas.acknowledged(delta)

    async def _tell_metrics(self) -> None:
        now = self._clock()
        every_s = self._metrics_every_s()
        if not 0 <= now - self._told_at < every_s:  # a clock that was set back makes nobody wait
            await self._sink.report({"is_online": True, **self._metrics()}, Purpose.METRICS)
            self._told_at = now
