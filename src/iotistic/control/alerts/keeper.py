"""The loops of alerts: look at rules, hand out marks, wake what was silenced, forget what is old.

Any number of processes may run it: rules are claimed row by row, and everything else is a statement that
does not mind another one like it. A rule that cannot be evaluated says why in its own row, and keeps no
other rule waiting.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.alerts import alert_rows, metrics, rule_rows, stream_rows, target_rows
from iotistic.control.alerts.anomaly_sweep import AnomalySweep
from iotistic.control.alerts.conditions import AnomalyFound, Stream
from iotistic.control.alerts.model import Database, Work, utc_now
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.sources import Sources
from iotistic.control.alerts.sweeping import DeviceSweep, LogWatch
from iotistic.control.alerts.watching import TelemetryWatch
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_MARKS_A_ROUND = 2000
_WAKE_S, _STAND_S, _FORGET_S = 5.0, 15.0, 3600.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 10.0
_MINUTE = timedelta(minutes=1)


class AlertKeeper:
    """Evaluates the rules of one database until it is stopped."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: AlertSettings,
        sources: Sources | None = None,
        *,
        forgets: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`forgets`: whether `run` calls `forget` too; False where somebody else does."""
        self._forgets = forgets
        sources = sources or Sources()
        self._pool, self._settings, self._clock = pool, settings, clock
        self._every = timedelta(seconds=settings.alert_round_s)
        self._looks = {
            Stream.TELEMETRY: TelemetryWatch(settings, sources).look,
            Stream.DEVICES: DeviceSweep(sources).look,
            Stream.LOGS: LogWatch(sources).look,
        }
        self._look_at_anomalies = AnomalySweep(sources).look
        self._stopping = asyncio.Event()
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Run until `stop` is called; returns when the round in hand is done."""
        loops: dict[str, tuple[Callable[[], Awaitable[object]], float]] = {
            "rules": (self.look_at_all, self._settings.alert_round_s / 4),
            "marks": (self.hand_out_marks, self._settings.alert_round_s),
            "silences": (self.wake, _WAKE_S),
            "figures": (self.stand, _STAND_S),
        }
        if self._forgets:
            loops["forget"] = (self.forget, _FORGET_S)
        async with asyncio.TaskGroup() as tasks:
            for name, (work, every_s) in loops.items():
                tasks.create_task(self._repeat(name, work, every_s))

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def look_at_all(self) -> int:
        """Look at every rule that is due; return how many looks that took."""
        looks = 0
        while not self._stopping.is_set() and await self.look_at_one():
            looks += 1
        return looks

    async def look_at_one(self) -> bool:
        """Look at the rule that waits the longest; return whether one was due."""
        work: Work | None = None
        now, began = self._clock(), time.perf_counter()
        try:
            with database_errors():
                async with self._pool.acquire() as db, db.transaction():
                    work = await rule_rows.claim(db, now, self._every)
                    if work is None:
                        return False
                    if await self._look_of(work)(db, work, now):
                        await _soon_again(db, work, now - self._every)
        except (IotisticError, asyncpg.PostgresError, ArithmeticError, ValueError) as exc:
            if work is None:
                raise
            metrics.looked(work.rule.stream, time.perf_counter() - began, has_failed=True)
            await self._note_fault(work, now, exc)
        else:
            metrics.looked(work.rule.stream, time.perf_counter() - began, has_failed=False)
        return True

    def _look_of(self, work: Work) -> Callable[[Database, Work, datetime], Awaitable[bool]]:
        if isinstance(work.rule.definition.condition, AnomalyFound):
            return self._look_at_anomalies
        return self._looks[work.rule.stream]

    async def _note_fault(self, work: Work, now: datetime, exc: Exception) -> None:
        reason = exc.message if isinstance(exc, IotisticError) else f"{type(exc).__name__}: {exc}"
        if reason[:500] != work.rule.fault:
            log.warning("alert_rule.failed", rule_id=str(work.rule.id), reason=reason)
        with database_errors():
            await rule_rows.failed(self._pool, work.rule.id, now, reason)

    async def hand_out_marks(self) -> None:
        """Give each rule the minutes in which readings may have come late."""
        settled = self._clock() - _MINUTE - timedelta(seconds=self._settings.alert_settle_s)
        with database_errors():
            while not self._stopping.is_set():
                taken = await stream_rows.hand_out_marks(self._pool, settled, most=_MARKS_A_ROUND)
                if taken < _MARKS_A_ROUND:
                    return

    async def wake(self) -> None:
        """Let alerts fire whose silence is over."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await alert_rows.wake(db, self._clock())

    async def stand(self) -> None:
        """Show how alerts, rules and messages stand in the figures of this process."""
        with database_errors():
            alerts = await alert_rows.counted(self._pool)
            behind = await rule_rows.behind(self._pool, self._clock())
            metrics.stand(alerts, behind, await target_rows.waiting(self._pool))

    async def forget(self) -> dict[str, int]:
        """Drop what is too old, but for what somebody is at; return how many of each kind."""
        now = self._clock()
        deliveries = now - timedelta(days=self._settings.alert_deliveries_days)
        with database_errors():
            gone = {
                "deliveries": await self._pool.execute(
                    "DELETE FROM alert_deliveries WHERE id IN (SELECT id FROM alert_deliveries "
                    "WHERE state <> 'waiting' AND ended_at < $1 FOR UPDATE SKIP LOCKED)",
                    deliveries,
                ),
                "silences": await self._pool.execute(
                    "DELETE FROM alert_silences WHERE id IN (SELECT id FROM alert_silences "
                    "WHERE until < $1 FOR UPDATE SKIP LOCKED)",
                    deliveries,
                ),
                "alerts": await self._pool.execute(
                    "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts "
                    "WHERE state = 'resolved' AND created_at < $1 FOR UPDATE SKIP LOCKED)",
                    now - timedelta(days=self._settings.alert_days),
                ),
            }
        return {kind: int(done.rpartition(" ")[2]) for kind, done in gone.items()}

    async def _repeat(self, name: str, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                await work()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                if name not in self._failing:
                    log.warning("alerts.failed", loop=name, reason=str(exc))
                self._failing.add(name)
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                self._failing.discard(name)
                pause_s = _RETRY_FIRST_S
                await self._rest(every_s)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def _soon_again(db: Database, work: Work, at: datetime) -> None:
    """Let a rule that is behind be looked at again at once, after those that have waited longer."""
    await db.execute("UPDATE alert_rule_work SET looked_at = $2 WHERE rule_id = $1", work.rule.id, at)
