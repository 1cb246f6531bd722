"""The jobs of one device: taken from the cloud, run one after another, and told.

    poll, hear, notify -> inbox -> journal (disk) -> runs, one at a time -> journal -> reports

- A job is in the journal before anything else happens with it, and whatever comes again is known there.
- A step is begun at most once: what was under way when the agent died is reported, not repeated.
- A cloud that asks for a job that is over here is told again how it ended.
"""

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Protocol

import structlog

from iotistic.agent.jobs.delivery import Delivery
from iotistic.agent.jobs.execution import Limits, Outcome
from iotistic.agent.jobs.journal import Entry, Journal, Keeper, unkept_reason
from iotistic.agent.jobs.model import Around, JobExecution, seen
from iotistic.agent.jobs.polling import JobSource, Poller
from iotistic.agent.jobs.roads import Hearing, JobReports
from iotistic.agent.jobs.running import Running, report_of
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.pacing import Pace
from iotistic.contracts.job_messages import JobOrder, read_answer, read_order
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_MOST_HEARD = 100
_LONGEST_REST_S = 60.0
"""The time of day may be set meanwhile."""
_DISK_PAUSE_S = 5.0
_NOTIFY = "notify-next"


class JobCloud(JobSource, JobReports, Protocol):
    """The cloud by HTTP."""


class JobRunner:
    """One device's. `reports` is the road that reports take, `cloud` itself when there is no other."""

    def __init__(
        self,
        uuid: str,
        cloud: JobCloud,
        keeper: Keeper,
        settings: JobSettings,
        around: Around,
        *,
        reports: JobReports | None = None,
        grace_s: float = 5.0,
    ) -> None:
        self._around = around
        self._reports = reports or cloud
        self._journal = Journal(keeper)
        clock, chance = around.clock, around.chance
        interval_s = settings.cloud_jobs_polling_interval / 1000
        self._poller = Poller(
            cloud, uuid, interval_s, self._receive, clock=clock, chance=chance, announces=around.announces
        )
        self._delivery = Delivery(
            self._journal,
            self._reports,
            Pace(uuid, 0),
            clock=clock,
            chance=chance,
            canceled=self.cancel,
            over=self._poller.ask_now,
        )
        limits = Limits(
            settings.job_handler_dir,
            settings.job_step_timeout_minutes * 60.0,
            grace_s,
            settings.job_output_kb * 1024,
        )
        self._running = Running(
            self._journal,
            limits,
            settings.job_timeout_minutes * 60.0,
            clock,
            around.facts,
            self._delivery.look,
        )
        self._inbox: asyncio.Queue[object] = asyncio.Queue(_MOST_HEARD)
        self._receiving = asyncio.Lock()
        self._wake = asyncio.Event()
        self._under_way: Entry | None = None
        self._cancelled = asyncio.Event()

    async def run(self) -> None:
        """Take, run and tell jobs until cancelled; a step under way is ended then, and told of at the next start."""
        await self._open()
        async with asyncio.TaskGroup() as tasks:
            for loop in (self._hear_all, self._work, self._poller.run, self._delivery.run):
                tasks.create_task(loop())

    def notify(self, document: object) -> None:
        """Take a job that was announced (`jobs/notify-next`); what is more than can be kept is asked for later."""
        try:
            self._inbox.put_nowait(document)
        except asyncio.QueueFull:
            log.warning("job.announcement_dropped", waiting=_MOST_HEARD)

    def hear(self, topic: str, payload: bytes) -> None:
        """Take a message of `jobs/notify-next` or `jobs/<job>/update/accepted`."""
        try:
            document: object = json.loads(payload) if payload else {}
        except (ValueError, RecursionError):
            log.warning("job.message_unreadable", topic=topic)
            return
        if topic.endswith(f"/{_NOTIFY}"):
            self.notify(document)
            return
        if isinstance(self._reports, Hearing):
            self._reports.hear(topic, payload)
        if read_answer(document) is JobStatus.CANCELED:
            self.cancel(topic.split("/jobs/", 1)[-1].split("/", 1)[0])

    def cancel(self, job_id: str) -> None:
        """End a job, or do not begin it."""
        self.notify({"job_id": job_id, "status": JobStatus.CANCELED.value})

    def ask_now(self) -> None:
        """Speak with the cloud without waiting: it can be reached again, or has something."""
        self._poller.ask_now()
        self._delivery.hurry()

    def recent(self, most: int = 50) -> list[JobExecution]:
        """Return executions, the newest first."""
        return [seen(entry) for entry in reversed(self._journal.entries[-most:])]

    async def _open(self) -> None:
        while True:
            try:
                await self._journal.open()
                break
            except IotisticError as exc:
                log.warning("job.journal_not_read", code=exc.code, reason=exc.message)
                await asyncio.sleep(_DISK_PAUSE_S)

    async def _hear_all(self) -> None:
        while True:
            await self._receive(await self._inbox.get())

    async def _receive(self, message: object) -> None:
        try:
            await self._read(message)
        except Exception:  # whatever the cloud sends, it does not end the agent
            log.exception("job.order_failed")

    async def _read(self, message: object) -> None:
        order, faults = read_order(message)
        if faults:
            log.warning("job.order_unreadable", faults=[str(fault) for fault in faults])
        if order is None:
            return
        async with self._receiving:
            known = self._journal.find(order.job_id, order.number)
            if order.status is JobStatus.CANCELED:
                await self._cancel(order.job_id)
            elif known is not None:
                await self._tell_again(known)
            elif order.document is None:
                self._poller.ask_now()
            elif order.status is None or not order.status.is_final:
                await self._take(order)

    async def _take(self, order: JobOrder) -> None:
        refusal = unkept_reason(order.document)
        kept = replace(order, document=None) if refusal else order
        try:
            entry = await self._journal.add(kept, self._around.clock())
        except IotisticError as exc:  # the cloud has it still, and hands it out again
            log.warning("job.not_taken", job_id=order.job_id, code=exc.code, reason=exc.message)
            return
        log.info("job.received", job_id=entry.job_id, number=entry.number, name=entry.name)
        if order.status is JobStatus.IN_PROGRESS:
            entry.move(JobStatus.IN_PROGRESS)
            reason = "it was in progress, and this device does not remember how far"
            await self._running.finish(entry, Outcome(JobStatus.FAILED, reason))
        elif refusal:
            await self._running.finish(entry, Outcome(JobStatus.REJECTED, refusal))
        self._wake.set()

    async def _tell_again(self, entry: Entry) -> None:
        if entry.status.is_final and not entry.reports:
            outcome = Outcome(
                entry.status, entry.reason, entry.exit_code, entry.executed_steps, entry.failed_step
            )
            self._journal.tell(entry, report_of(entry, outcome), again=True)
            self._delivery.look()

    async def _cancel(self, job_id: str) -> None:
        for entry in self._journal.entries:
            if entry.job_id != job_id or entry.status.is_final:
                continue
            if entry is self._under_way:
                self._cancelled.set()
            elif not entry.is_running:  # one that is still to be recovered is told of then
                await self._running.finish(entry, Outcome(JobStatus.CANCELED, "cancelled while it waited"))

    async def _work(self) -> None:
        for entry in [one for one in self._journal.entries if one.is_running]:
            await self._recover(entry)
        while True:
            self._wake.clear()
            entry, rest_s = self._next()
            if entry is not None:
                await self._carry_out(entry)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._wake.wait()

    async def _recover(self, entry: Entry) -> None:
        self._under_way = entry
        try:
            await self._running.recover(entry)
        except Exception as exc:  # the same at each start would be worse
            log.exception("job.failed", job_id=entry.job_id)
            await self._give_up(entry, exc)
        self._under_way = None

    async def _give_up(self, entry: Entry, exc: Exception) -> None:
        """Fail a job that met a fault of our own: it would meet it again."""
        reason = f"the agent met a fault of its own: {exc!r}"
        await self._running.finish(entry, Outcome(JobStatus.FAILED, reason))

    def _next(self) -> tuple[Entry | None, float]:
        """Return the job that is due, or how long to rest."""
        waiting = [entry for entry in self._journal.entries if not entry.status.is_final]
        entry = min(waiting, key=lambda one: (one.due_at, one.sequence), default=None)
        if entry is None:
            return None, _LONGEST_REST_S
        left_s = entry.due_at - self._around.clock()
        return (entry, 0.0) if left_s <= 0 else (None, min(left_s, _LONGEST_REST_S))

    async def _carry_out(self, entry: Entry) -> None:
        self._cancelled.clear()
        self._under_way = entry
        try:
            await self._running.carry_out(entry, self._cancelled)
        except IotisticError as exc:
            log.warning("job.not_begun", job_id=entry.job_id, code=exc.code, reason=exc.message)
            entry.due_at = self._around.clock() + _DISK_PAUSE_S
        except Exception as exc:  # not the cloud's fault, and no reason to end the agent
            log.exception("job.failed", job_id=entry.job_id)
            await self._give_up(entry, exc)
        if self._cancelled.is_set() and not entry.status.is_final:
            await self._running.finish(entry, Outcome(JobStatus.CANCELED, "cancelled between its runs"))
        self._under_way = None
