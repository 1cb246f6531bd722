"""Delivers messages: at least once, each under an id that stays.

    waiting --claim (a lease)--> attempt --taken--> delivered
       ^                            |--failed, with attempts left: waiting, later and later
       |                            `--refused, or none left: dead --replay--> waiting

A message is written in the transaction that raises its alert. A process that is killed while it sends has
only a lease: when that ends the message is sent again, by whoever comes first. A target that fails several
times in a row is left alone for a while, and holds up no other.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.alerts import metrics, target_rows
from iotistic.control.alerts.mail import MailSender
from iotistic.control.alerts.model import Delivery, Target, utc_now
from iotistic.control.alerts.settings import DeliverySettings
from iotistic.control.alerts.webhook import WebhookSender
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LEASE_AFTER_TIMEOUTS_S = 120.0
_IDLE_S = 1.0
_SENDERS = 4
_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Senders:
    """Those who carry a message, by the kind of target."""

    webhook: WebhookSender
    mail: MailSender

    async def send(self, target: Target, delivery: Delivery, now: datetime) -> None:
        """Deliver; raises IotisticError."""
        if target.channel["kind"] == "webhook":
            await self.webhook.send(target, delivery, now)
        else:
            await self.mail.send(target, delivery)


class Courier:
    """Works off the queue until it is stopped; any number of processes may have one."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        senders: Senders,
        settings: DeliverySettings,
        *,
        lease_s: float = _LEASE_AFTER_TIMEOUTS_S,
        clock: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`lease_s`: longer than any attempt takes."""
        self._pool, self._senders, self._settings = pool, senders, settings
        self._lease = timedelta(seconds=lease_s)
        self._clock, self._chance = clock, chance
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until `stop` is called; returns when what is being sent is done."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_SENDERS):
                tasks.create_task(self._work())

    def stop(self) -> None:
        """Take up no further message."""
        self._stopping.set()

    async def deliver_due(self) -> int:
        """Try everything that is due now, once; return how many attempts that were."""
        attempts = 0
        while not self._stopping.is_set() and await self.deliver_one():
            attempts += 1
        return attempts

    async def deliver_one(self) -> bool:
        """Try the message that is due the longest; return whether there was one."""
        now = self._clock()
        with database_errors():
            claimed = await target_rows.claim(self._pool, now, self._lease)
        if claimed is None:
            return False
        delivery, target = claimed
        try:
            async with asyncio.timeout(self._lease.total_seconds() * 0.9):
                await self._senders.send(target, delivery, now)
        except (IotisticError, TimeoutError) as exc:
            await self._note_failure(delivery, target, exc)
        else:
            with database_errors():
                await target_rows.delivered(self._pool, delivery, self._clock())
            metrics.DELIVERIES.labels(target.channel["kind"], "delivered").inc()
        return True

    async def _note_failure(self, delivery: Delivery, target: Target, exc: Exception) -> None:
        now, settings = self._clock(), self._settings
        fault = f"{exc.code}: {exc.message}" if isinstance(exc, IotisticError) else "it took too long"
        may_heal = isinstance(exc, Unavailable | TimeoutError)
        is_last = not may_heal or delivery.attempts >= settings.alert_attempts
        again_at = None if is_last else now + self._pause(delivery.attempts)
        with database_errors():
            await target_rows.failed(self._pool, delivery, fault, again_at=again_at, now=now)
            until = now + timedelta(seconds=settings.alert_circuit_s)
            if await target_rows.rest(self._pool, target.id, settings.alert_circuit_failures, until):
                log.warning("alert_target.resting", target_id=str(target.id), until=until.isoformat())
        metrics.DELIVERIES.labels(target.channel["kind"], "dead" if is_last else "failed").inc()
        if is_last:
            log.warning("alert_delivery.given_up", delivery_id=str(delivery.id), fault=fault)

    def _pause(self, attempts: int) -> timedelta:
        settings = self._settings
        longest = settings.alert_retry_first_s * 2.0 ** min(attempts - 1, 40)
        return timedelta(seconds=min(longest, settings.alert_retry_most_s) * (1 - self._chance() / 2))

    async def _work(self) -> None:
        while not self._stopping.is_set():
            pause_s = _IDLE_S
            try:
                if await self.deliver_one():
                    continue
            except (IotisticError, asyncpg.PostgresError) as exc:
                log.warning("alert_courier.failed", reason=str(exc))
                pause_s = _RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
