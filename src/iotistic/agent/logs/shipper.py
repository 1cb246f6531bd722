"""Sends lines to the cloud: many at once, soon when they matter, and never more than the data budget bears.

A request costs some 500 bytes beside its lines, and lines compress by each other: sent alone a line costs 25
times what it costs among a hundred. The contract's 100 ms would send most of them alone; here an error after a
silence waits 3 s for company, the rest 30 s, and what a day may cost is bounded.

    no answer, 429, 502 to 504   the cloud is away: the lines stay, the pauses grow; the oldest make room
    401, 403                     so they do while the key is not accepted
    other failures               five times, then the batch is given up and its lines are counted as lost
    400, 413 and the like        given up at once: the same would be refused again

After ten failures in a row one try a minute is made.
"""

import asyncio
import contextlib
import gzip
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from iotistic.agent.logs.entry import LogEntry
from iotistic.agent.logs.shipping import Allowance, Loss, Losses, Reason, Shipping, Sieve, told
from iotistic.agent.logs.waiting import Batch, WaitingLines
from iotistic.kernel.errors import Denied, Invalid, IotisticError, Unavailable

log = structlog.get_logger()

_TRIES = 5
_FIRST_S, _MOST_S = 1.0, 30.0
_BREAKS_AFTER, _BROKEN_FOR_S = 10, 60.0
_MOST_RETRY_S = 300.0
_TOLD_AFTER = 3
_OF_A_REQUEST = 500
_AWAY = frozenset({429, 502, 503, 504})


class LogSink(Protocol):
    """Takes lines."""

    async def send_logs(self, lines: bytes, *, is_gzip: bool) -> None:
        """Return once they are there. Raises IotisticError, with the HTTP `status` in its fields if there is one."""
        ...


class LogShipper:
    """`clock` in seconds since 1970, `now` a steady time in seconds, `chance` from 0 to 1; `pause` waits."""

    def __init__(
        self,
        sink: LogSink,
        shipping: Shipping,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sink, self._shipping = sink, shipping
        self._clock, self._chance, self._now, self._pause = clock, chance, now, pause
        self.losses = Losses()
        self.sieve = Sieve(self.losses, now, chance)
        self._waiting = WaitingLines(self.losses)
        self._allowance, self._sent_at = Allowance(now()), float("-inf")
        self._loss_due = float("inf")
        self._woken = asyncio.Event()
        self._failures = 0
        self.sent = 0
        """Lines that the cloud has."""

    @property
    def waiting(self) -> int:
        """Lines that wait."""
        return len(self._waiting)

    @property
    def shipping(self) -> Shipping:
        """What is sent; may be changed at any time, as the cloud wishes."""
        return self._shipping

    @shipping.setter
    def shipping(self, shipping: Shipping) -> None:
        self._shipping = shipping
        if not shipping.is_enabled:
            self._waiting.clear()
            self.losses.take()
        self._woken.set()

    def take(self, entry: LogEntry) -> None:
        """Take a line, or leave it out; a listener of the hub."""
        if not self._shipping.is_enabled:
            return
        now = self._now()
        if self.sieve.passes(entry, self._shipping):
            self._waiting.add(entry, self._shipping, now)
        if self.losses and self._loss_due == float("inf"):
            self._loss_due = now + self._shipping.flush_s
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._until_due()
            batch = self._waiting.take(self._shipping)
            losses, self._loss_due = self.losses.take(), float("inf")
            await self._deliver(batch, losses)

    async def _until_due(self) -> None:
        while True:
            self._woken.clear()
            left_s = self._due() - self._now()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left_s == float("inf") else left_s):
                    await self._woken.wait()

    def _due(self) -> float:
        due = min(self._waiting.due(self._shipping, self._sent_at), self._loss_due)
        return max(due, self._allowance.ready_at(self._shipping.bytes_per_day, self._now()))

    def _spend(self, count: int) -> None:
        self._sent_at = self._now()
        self._allowance.spend(count + _OF_A_REQUEST, self._shipping.bytes_per_day, self._sent_at)

    async def _deliver(self, batch: Batch, losses: Mapping[Loss, int]) -> None:
        """Send lines, and what is said of others; return when they are there, or given up."""
        lines = b"".join([*batch.lines, *(entry.written() for entry in told(losses, self._clock()))])
        is_gzip = self._shipping.is_compressed
        body = gzip.compress(lines, 6, mtime=0) if is_gzip else lines
        tries = 0
        while self._shipping.is_enabled:
            try:
                await self._sink.send_logs(body, is_gzip=is_gzip)
            except IotisticError as exc:
                self._spend(len(body) if "status" in exc.fields else 0)
                tries += not _is_away(exc)
                self._failures += 1
                refused = isinstance(exc, Invalid)
                if refused or tries >= _TRIES:
                    self._give_up(batch, losses, Reason.REFUSED if refused else Reason.FAILED, exc)
                elif self._failures == _TOLD_AFTER:
                    log.warning("logs.not_sent", code=exc.code, reason=exc.message, waiting=self.waiting)
                await self._pause(self._pause_s(exc))
                if refused or tries >= _TRIES:
                    return
            else:
                self._spend(len(body))
                self._failures = 0
                self.sent += len(batch.lines)
                return

    def _give_up(self, batch: Batch, losses: Mapping[Loss, int], reason: Reason, exc: IotisticError) -> None:
        log.warning("logs.given_up", lines=len(batch.lines), code=exc.code, reason=exc.message)
        self.losses.put_back(losses)
        for loss, count in batch.of.items():
            self.losses.add(replace(loss, reason=reason), count)
        self._loss_due = self._now() + self._shipping.flush_s

    def _pause_s(self, exc: IotisticError) -> float:
        if self._failures >= _BREAKS_AFTER:
            pause_s = _BROKEN_FOR_S
        else:
            pause_s = min(_FIRST_S * 2.0 ** (self._failures - 1), _MOST_S)
        asked_s = min(exc.retry_after_s, _MOST_RETRY_S) if isinstance(exc, Unavailable) else 0.0
        return max(pause_s * (0.7 + 0.6 * self._chance()), asked_s)


def _is_away(exc: IotisticError) -> bool:
    """Say whether the lines are not to blame: nobody answered, or nobody who reads them."""
    status = exc.fields.get("status")
    return isinstance(exc, Denied) or status is None or status in _AWAY
