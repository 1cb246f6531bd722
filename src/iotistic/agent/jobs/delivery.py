"""Takes reports to the cloud, one after another in their order, until each is there."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog

from iotistic.agent.jobs.journal import Entry, Journal
from iotistic.agent.jobs.roads import JobReports
from iotistic.agent.link.pacing import Pace
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import Invalid, IotisticError, NotFound, Unavailable

log = structlog.get_logger()

_TOO_LARGE = 413
_OUTPUTS = ("stdout", "stderr")


class Delivery:
    """`canceled` hears the id of a job that the cloud says is cancelled, `over` that a job's end was told."""

    def __init__(
        self,
        journal: Journal,
        reports: JobReports,
        pace: Pace,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        canceled: Callable[[str], object],
        over: Callable[[], object],
    ) -> None:
        self._journal, self._reports, self._pace = journal, reports, pace
        self._clock, self._chance = clock, chance
        self._canceled, self._over = canceled, over
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()

    def look(self) -> None:
        """Look soon: a report waits."""
        self._wake.set()

    def hurry(self) -> None:
        """Try again without waiting for the end of a pause."""
        self._hurry.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            waiting = self._journal.next_report()
            if waiting is None:
                await self._wake.wait()
            else:
                await self._rest(await self._deliver(*waiting))

    async def _rest(self, pause_s: float) -> None:
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hurry.wait()

    async def _deliver(self, entry: Entry, report: dict[str, Any]) -> float:
        """Try once; return how long to pause, in seconds."""
        try:
            said = await self._reports.report(entry.job_id, report["fields"])
        except (Invalid, NotFound) as exc:
            await self._refused(entry, report, exc)
            return 0.0
        except IotisticError as exc:
            log.warning("job.report_not_sent", job_id=entry.job_id, code=exc.code, reason=exc.message)
            retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0
            now = self._clock()
            return self._pace.failed(now, self._chance(), retry_after_s=retry_after_s) - now
        self._pace.failures = 0
        await self._journal.told(entry, report)
        if said is JobStatus.CANCELED and not entry.status.is_final:
            self._canceled(entry.job_id)
        self._note_over(entry, report)
        return 0.0

    def _note_over(self, entry: Entry, report: dict[str, Any]) -> None:
        if entry.status.is_final and not entry.reports and not report["again"]:
            self._over()

    async def _refused(self, entry: Entry, report: dict[str, Any], exc: IotisticError) -> None:
        """The same again would be refused again: it goes without its outputs if it was too large, or not at all."""
        fields = report["fields"]
        if exc.fields.get("status") == _TOO_LARGE and any(name in fields for name in _OUTPUTS):
            for name in _OUTPUTS:
                fields.pop(name, None)
            fields["status_details"] = {**fields.get("status_details", {}), "output": "too large to be told"}
            return
        log.warning(
            "job.report_refused",
            job_id=entry.job_id,
            status=fields["status"],
            code=exc.code,
            reason=exc.message,
        )
        await self._journal.told(entry, report)
        self._note_over(entry, report)
