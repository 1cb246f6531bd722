"""Carries out what is due, as long as it runs; any number of processes may have one.

     take --begun--> work --returned--> succeeded        failed, late, lost: tried again, later and later
                      |  `--raised----> failed           stopped: goes on in the next process
    renewed each fifth of a lease       past its deadline: late

Work is cancelled when its deadline passes, when the process is to end, and when nobody could be told for half of a
lease that it goes on: by then another process may take it for lost.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import asyncpg
import structlog
from prometheus_client import Counter, Histogram

from iotistic.control.devices.service import utc_now
from iotistic.control.upkeep.claims import Claims
from iotistic.control.upkeep.model import End, Outcome, Run, Task
from iotistic.control.upkeep.settings import UpkeepSettings
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

RUNS = Counter("iotistic_upkeep_runs_total", "Runs of tasks by what became of them", ["task", "outcome"])
SECONDS = Histogram("iotistic_upkeep_run_seconds", "Seconds that runs of tasks took", ["task"])

_REGISTER_EVERY_S = 60.0
_RETRY_S = 5.0
_WIND_UP_S = 5.0
_AWAY = (IotisticError, asyncpg.PostgresError, TimeoutError)


class UpkeepKeeper:
    """Carries out the tasks of one database until it is stopped."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        tasks: Sequence[Task],
        settings: UpkeepSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Raise TaskInvalid, ScheduleInvalid."""
        self._claims, self._settings = Claims(pool, tasks, settings, clock=clock), settings
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._is_failing = False
        self._registered_at: float | None = None

    async def run(self) -> None:
        """Run until `stop` is called; what is in hand gets a few seconds, and is given up then."""
        try:
            while not self._stopping.is_set():
                pause_s = await self._round()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._stopping.wait()
            if self._running:
                await asyncio.wait(self._running.values(), timeout=_WIND_UP_S)
        finally:
            await self._give_up()

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def look(self) -> None:
        """Take up what is due now, as far as there is room for it."""
        if self._registered_at is None or time.monotonic() - self._registered_at >= _REGISTER_EVERY_S:
            await self._claims.register()
            self._registered_at = time.monotonic()
        await self._claims.recover()
        while len(self._running) < self._settings.upkeep_at_once:
            taken = await self._claims.take(but=tuple(self._running))
            if taken is None:
                return
            job = asyncio.create_task(self._carry_out(taken), name=taken.task)
            self._running[taken.task] = job
            job.add_done_callback(lambda _, name=taken.task: self._running.pop(name, None))

    async def settled(self) -> None:
        """Return when nothing is in hand any more."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _round(self) -> float:
        try:
            await self.look()
        except _AWAY as exc:
            if not self._is_failing:
                log.warning("upkeep.failed", reason=str(exc))
            self._is_failing = True
            return _RETRY_S
        self._is_failing = False
        return self._settings.upkeep_round_s

    async def _carry_out(self, run: Run) -> None:
        task, began = self._claims.tasks[run.task], time.monotonic()
        working = asyncio.ensure_future(task.work())
        renewing = asyncio.create_task(self._renew(run))
        try:
            await asyncio.wait(
                {working, renewing}, timeout=task.deadline_s, return_when=asyncio.FIRST_COMPLETED
            )
            end = _end_of(working, is_ours=not renewing.done(), deadline_s=task.deadline_s)
        except asyncio.CancelledError:
            end = End(outcome=Outcome.STOPPED, error_code="upkeep.stopped", error="its process was to end")
        await _cancelled(working)
        await _cancelled(renewing)
        await self._write(run, end, time.monotonic() - began)

    async def _write(self, run: Run, end: End, duration_s: float) -> None:
        if end.outcome is not Outcome.LOST:
            try:
                await self._claims.end(run, end, duration_s=duration_s)
            except _AWAY as exc:
                # Nobody renews it any more, so it is found as lost, and done again.
                log.warning("task.end_not_written", task=run.task, run_id=run.id, reason=str(exc))
        RUNS.labels(run.task, end.outcome.value).inc()
        SECONDS.labels(run.task).observe(duration_s)
        say = log.info if end.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED) else log.warning
        say(
            "task.ended",
            task=run.task,
            run_id=run.id,
            outcome=end.outcome.value,
            code=end.error_code,
            reason=end.error,
            duration_s=round(duration_s, 3),
        )

    async def _renew(self, run: Run) -> None:
        """Return when the run is not ours any more, or we could not say for half of a lease that it is."""
        lease_s = self._settings.upkeep_lease_s
        told_at = time.monotonic()
        while time.monotonic() - told_at < lease_s / 2:
            await asyncio.sleep(lease_s / 5)
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(lease_s / 5):
                    if not await self._claims.renew(run):
                        return
            except _AWAY as exc:
                log.warning("task.not_renewed", task=run.task, run_id=run.id, reason=str(exc))
            else:
                told_at = asked_at

    async def _give_up(self) -> None:
        jobs = list(self._running.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def _end_of(working: "asyncio.Future[Mapping[str, object]]", *, is_ours: bool, deadline_s: float) -> End:
    if working.done() and not working.cancelled():
        exc = working.exception()
        return End(outcome=Outcome.SUCCEEDED, output=working.result()) if exc is None else End.failed(exc)
    if not is_ours:
        return End(outcome=Outcome.LOST, error_code="upkeep.lost", error="the database could not be told")
    fault = f"it was given up after {deadline_s:g} s"
    return End(outcome=Outcome.LATE, error_code="upkeep.deadline_passed", error=fault)


async def _cancelled(
    task: "asyncio.Future[object] | asyncio.Future[Mapping[str, object]] | asyncio.Task[None]",
) -> None:
    """End a task; one that will not be ended is left behind."""
    task.cancel()
    await asyncio.wait({task}, timeout=_WIND_UP_S)
    if task.done() and not task.cancelled():
        task.exception()
