r"""A document carried out once: its steps in order, then its final step, whatever happened before.

    steps --failed, timed out, cancelled--+
      \--all done-------------------------+--> final step --> outcome

Whoever watches is told before a step begins, and keeps that: so a step whose beginning could not be kept is
not run, and one that was begun is never run again.
"""

import asyncio
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from iotistic.agent.jobs.commands import MARK, command_of
from iotistic.agent.jobs.leftovers import ProcessMark
from iotistic.agent.jobs.output import KeptOutput
from iotistic.agent.jobs.processes import run_process
from iotistic.contracts.jobs import JobDocument, JobStatus, JobStep
from iotistic.kernel.errors import IotisticError


@dataclass(frozen=True)
class Limits:
    """What a job may take, and where its handlers are."""

    handlers: Path | None = None
    step_s: float = 3600.0
    """For a step that does not say."""
    grace_s: float = 5.0
    """Between asking a process to end and killing it."""
    output_bytes: int = 65_536


class Watch(Protocol):
    """Who follows an execution."""

    async def begun(self, step: str) -> None:
        """Keep that a step begins; it is run only after this returned. Raises StoreUnavailable."""
        ...

    async def started(self, mark: ProcessMark | None) -> None:
        """Keep the process of the step that began, as far as that is possible."""
        ...

    def progressed(self, done: int) -> None:
        """Note that so many steps are done."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How an execution ended."""

    status: JobStatus
    reason: str = ""
    exit_code: int | None = None
    executed_steps: int = 0
    failed_step: str = ""
    stdout: str = ""
    stderr: str = ""


class _Failure(NamedTuple):
    step: str
    reason: str
    timed_out: bool = False


@dataclass
class Execution:
    """One execution of a job. `named` are variables that its steps get, with the mark among them."""

    document: JobDocument
    limits: Limits
    watch: Watch
    named: dict[str, str]
    step: str = ""
    """The step under way, or the last one."""
    _executed: int = 0
    _begun: bool = False
    _exit_code: int | None = None
    _stdout: KeptOutput = field(init=False)
    _stderr: KeptOutput = field(init=False)

    def __post_init__(self) -> None:
        self._stdout = KeptOutput(self.limits.output_bytes)
        self._stderr = KeptOutput(self.limits.output_bytes)

    async def carry_out(self, timeout_s: float, cancelled: asyncio.Event) -> Outcome:
        """Run the steps and return how it went.

        Raises StoreUnavailable when nothing was begun, since that could not be kept.
        """
        outcome = await self._steps_within(timeout_s, cancelled)
        return await self.conclude(outcome)

    async def conclude(self, outcome: Outcome) -> Outcome:
        """Run the final step after the others came to an outcome; return the whole."""
        final, self._begun = self.document.final_step, True
        failure = None if final is None else await self._kept_step(final)
        if failure is not None and outcome.status is JobStatus.SUCCEEDED:
            outcome = replace(_failed(failure), exit_code=self._exit_code)
        elif failure is not None:
            outcome = replace(outcome, reason=f"{outcome.reason}; {failure.reason}")
        return replace(
            outcome,
            executed_steps=self._executed,
            stdout=self._stdout.text() if self.document.include_stdout else "",
            stderr=self._stderr.text(),
        )

    async def _steps_within(self, timeout_s: float, cancelled: asyncio.Event) -> Outcome:
        working = asyncio.create_task(self._steps())
        waiting = asyncio.create_task(cancelled.wait())
        try:
            await asyncio.wait((working, waiting), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            was_cut_off = not working.done()
            working.cancel()
            waiting.cancel()
            await asyncio.gather(working, waiting, return_exceptions=True)
        if not was_cut_off or not working.cancelled():
            failure = working.result()
            done = Outcome(JobStatus.SUCCEEDED) if failure is None else _failed(failure)
            return replace(done, exit_code=self._exit_code)
        if cancelled.is_set():
            return Outcome(JobStatus.CANCELED, f"cancelled during step {self.step}", failed_step=self.step)
        reason = f"the job took longer than {timeout_s:g} s: ended during step {self.step}"
        return Outcome(JobStatus.TIMED_OUT, reason, failed_step=self.step)

    async def _steps(self) -> _Failure | None:
        for step in self.document.steps:
            failure = await self._kept_step(step)
            if failure is not None and not step.ignore_failure:
                return failure
        return None

    async def _kept_step(self, step: JobStep) -> _Failure | None:
        self.step = step.name
        try:
            await self.watch.begun(step.name)
        except IotisticError as exc:
            if not self._begun:
                raise
            return _Failure(step.name, f"step {step.name} was not run: {exc.message}")
        self._begun = True
        failure = await self._step(step)
        self._executed += 1
        self.watch.progressed(self._executed)
        return failure

    async def _step(self, step: JobStep) -> _Failure | None:
        limit_s = self.limits.step_s if step.timeout_s is None else step.timeout_s
        lines, size = self._stderr.lines, self._stderr.total
        self._exit_code = None
        try:
            async with asyncio.timeout(limit_s):
                status = await self._process(step)
        except TimeoutError:
            return _Failure(step.name, f"step {step.name} took longer than {limit_s:g} s", timed_out=True)
        except IotisticError as exc:
            return _Failure(step.name, f"step {step.name} was not run: {exc.message}")
        self._exit_code = status if status >= 0 else 128 - status
        if status != 0:
            return _Failure(step.name, f"step {step.name} {_ending(status)}")
        said = max(self._stderr.lines - lines, int(self._stderr.total > size))
        if step.stderr_lines is not None and said > step.stderr_lines:
            reason = f"step {step.name} wrote {said} lines to standard error, allowed are {step.stderr_lines}"
            return _Failure(step.name, reason)
        return None

    async def _process(self, step: JobStep) -> int:
        command = command_of(step, self.limits.handlers, {**self.named, "IOTISTIC_JOB_STEP": step.name})
        return await run_process(
            command, self._stdout, self._stderr, self.watch.started, grace_s=self.limits.grace_s
        )


def variables(job_id: str, token: str) -> dict[str, str]:
    """Return the variables that the steps of a job get."""
    return {"IOTISTIC_JOB_ID": job_id, MARK: token}


def _failed(failure: _Failure) -> Outcome:
    status = JobStatus.TIMED_OUT if failure.timed_out else JobStatus.FAILED
    return Outcome(status, failure.reason, failed_step=failure.step)


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
