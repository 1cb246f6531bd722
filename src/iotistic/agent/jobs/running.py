r"""One execution of the journal carried out: what is kept on disk around each of its steps, and how it ends.

QUEUED --faults, conditions--> REJECTED
   \--step begun, kept--> IN_PROGRESS --run over--> final, or due again when the job recurs
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from iotistic.agent.jobs.execution import Execution, Limits, Outcome, variables
from iotistic.agent.jobs.facts import unmet_condition
from iotistic.agent.jobs.journal import Entry, Journal
from iotistic.agent.jobs.leftovers import ProcessMark, end_leftovers, read_mark
from iotistic.contracts.job_documents import read_job_document
from iotistic.contracts.job_messages import JobReport
from iotistic.contracts.jobs import ExecutionKind, JobDocument, JobStatus
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_MOST_FAULTS = 20
_CONTINUES_AFTER_S = 60.0


@dataclass
class Running:
    """What carrying out needs. `clock` is seconds since 1970; `told` is called when a report waits."""

    journal: Journal
    limits: Limits
    timeout_s: float
    clock: Callable[[], float]
    facts: Callable[[], Mapping[str, str]]
    told: Callable[[], None]

    async def carry_out(self, entry: Entry, cancelled: asyncio.Event) -> None:
        """Carry out a run of an execution, or refuse it. Raises StoreUnavailable when nothing was begun."""
        document, faults = read_job_document(entry.document)
        refusal = "; ".join(str(fault) for fault in faults[:_MOST_FAULTS])
        if not refusal and entry.status is JobStatus.QUEUED:
            refusal = unmet_condition(document.conditions, self.facts())
        if refusal:
            is_new = entry.status is JobStatus.QUEUED
            await self.finish(entry, Outcome(JobStatus.REJECTED if is_new else JobStatus.FAILED, refusal))
            return
        not_before = document.schedule.not_before
        if not_before is not None and self.clock() < not_before:
            entry.due_at = not_before
            await self.journal.save(entry)
            return
        await self._run(entry, document, cancelled)

    async def recover(self, entry: Entry) -> None:
        """Bring a run to an end that the agent did not live to see: no step of it is run again."""
        ended = await asyncio.to_thread(
            end_leftovers, read_mark(entry.mark), entry.token, grace_s=self.limits.grace_s
        )
        log.warning("job.interrupted", job_id=entry.job_id, step=entry.step, processes_ended=ended)
        outcome = Outcome(
            JobStatus.FAILED, f"agent restarted during step {entry.step}", failed_step=entry.step
        )
        executed = entry.executed_steps
        document, faults = read_job_document(entry.document)
        final = document.final_step
        if final is not None and not faults and entry.step != final.name:
            outcome = await self._execution(entry, document).conclude(outcome)
        await self._end_run(entry, document, replace(outcome, executed_steps=executed))

    async def finish(self, entry: Entry, outcome: Outcome) -> None:
        """End an execution for good."""
        if not entry.status.may_become(outcome.status):
            entry.move(JobStatus.IN_PROGRESS)  # its time was over before its first step began
        entry.move(outcome.status)
        entry.is_running, entry.finished_at, entry.document = False, self.clock(), None
        entry.reason, entry.exit_code = outcome.reason, outcome.exit_code
        entry.executed_steps, entry.failed_step = outcome.executed_steps, outcome.failed_step
        self.journal.tell(entry, report_of(entry, outcome))
        await self.journal.save_if_possible(entry)
        self.told()
        (log.info if entry.status is JobStatus.SUCCEEDED else log.warning)(
            "job.finished", job_id=entry.job_id, number=entry.number, status=entry.status, reason=entry.reason
        )

    async def _run(self, entry: Entry, document: JobDocument, cancelled: asyncio.Event) -> None:
        entry.token, entry.mark, entry.step, entry.executed_steps = uuid.uuid4().hex, None, "", 0
        limits_s = [one for one in (document.max_duration_s, entry.timeout_s) if one is not None]
        execution = self._execution(entry, document)
        outcome = await execution.carry_out(min(limits_s, default=self.timeout_s), cancelled)
        await self._end_run(entry, document, outcome)

    def _execution(self, entry: Entry, document: JobDocument) -> Execution:
        watch = _Kept(self, entry, document)
        return Execution(document, self.limits, watch, variables(entry.job_id, entry.token))

    async def _end_run(self, entry: Entry, document: JobDocument, outcome: Outcome) -> None:
        """End the execution, or have it due again."""
        began, now = entry.started_at or 0.0, self.clock()
        entry.runs += 1
        entry.failed_runs += outcome.status is not JobStatus.SUCCEEDED
        due_at = None if outcome.status is JobStatus.CANCELED else next_run(document, entry.runs, began, now)
        if due_at is None:
            await self.finish(entry, _whole(entry, outcome))
            return
        entry.is_running, entry.due_at, entry.reason = False, due_at, outcome.reason
        entry.exit_code, entry.failed_step = outcome.exit_code, outcome.failed_step
        report = report_of(entry, outcome, last_run=outcome.status.value, next_run_at=due_at)
        self.journal.tell(entry, replace(report, status=JobStatus.IN_PROGRESS))
        await self.journal.save_if_possible(entry)
        self.told()
        log.info("job.run_ended", job_id=entry.job_id, run=entry.runs, status=outcome.status, next_at=due_at)


def next_run(document: JobDocument, runs: int, began: float, now: float) -> float | None:
    """Return when a job runs again after so many runs; None when it does not. Moments that passed are not made up."""
    kind, schedule = document.execution, document.schedule
    if kind is ExecutionKind.ONE_TIME or (
        document.max_executions is not None and runs >= document.max_executions
    ):
        return None
    if kind is ExecutionKind.CONTINUOUS:
        return now + (_CONTINUES_AFTER_S if schedule.interval_s is None else schedule.interval_s)
    if schedule.interval_s is not None:
        missed = (now - began) // schedule.interval_s
        return began + (max(missed, 0) + 1) * schedule.interval_s
    return schedule.next_after(now)


def report_of(entry: Entry, outcome: Outcome, **details: Any) -> JobReport:
    """Return what is told about an execution."""
    known = {"step": entry.step, "execution_number": entry.number, "runs": entry.runs or None, **details}
    return JobReport(
        status=entry.status,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        executed_steps=outcome.executed_steps,
        failed_step=outcome.failed_step,
        status_details={name: value for name, value in known.items() if value not in (None, "")},
    )


def _whole(entry: Entry, last: Outcome) -> Outcome:
    """Return the outcome of all runs: one that failed is not forgotten since the last did not."""
    if entry.runs == 1 or not entry.failed_runs or last.status is JobStatus.CANCELED:
        return last
    reason = f"{entry.failed_runs} of {entry.runs} runs failed" + (f"; {last.reason}" if last.reason else "")
    return replace(last, status=JobStatus.FAILED, reason=reason)


class _Kept:
    """Keeps on disk what an execution does."""

    def __init__(self, running: Running, entry: Entry, document: JobDocument) -> None:
        self._running, self._entry, self._document = running, entry, document

    async def begun(self, step: str) -> None:
        entry = self._entry
        before = replace(entry)
        if not entry.is_running:
            entry.move(JobStatus.IN_PROGRESS)
            entry.is_running, entry.started_at = True, self._running.clock()
            self._tell(f"step {step}")
        entry.step, entry.mark = step, None
        try:
            await self._running.journal.save(entry)
        except IotisticError:  # it was not begun; whoever is cancelled here may have kept it
            entry.__dict__.update(before.__dict__)
            raise
        self._running.told()

    async def started(self, mark: ProcessMark | None) -> None:
        self._entry.mark = None if mark is None else mark.as_dict()
        await self._running.journal.save_if_possible(self._entry)

    def progressed(self, done: int) -> None:
        self._entry.executed_steps = done
        if self._document.report_progress and self._entry.is_running:
            steps = len(self._document.steps) + (self._document.final_step is not None)
            self._tell(f"{done} of {steps} steps done")
            self._running.told()

    def _tell(self, progress: str) -> None:
        outcome = Outcome(JobStatus.IN_PROGRESS, executed_steps=self._entry.executed_steps)
        self._running.journal.tell(self._entry, report_of(self._entry, outcome, progress=progress))
