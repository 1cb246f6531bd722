r"""What a job is: its document, and the statuses that its execution on a device goes through.

QUEUED -> IN_PROGRESS -> SUCCEEDED | FAILED | TIMED_OUT | CANCELED
   \----> REJECTED | CANCELED
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from iotistic.contracts.cron import Cron
from iotistic.kernel.errors import Conflict


class JobStatus(StrEnum):
    """How far an execution is."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Nothing comes after it."""
        return not _NEXT[self]

    def may_become(self, status: "JobStatus") -> bool:
        """Say whether another status may come next; progress is IN_PROGRESS again."""
        return status in _NEXT[self]


_NEXT: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.IN_PROGRESS, JobStatus.REJECTED, JobStatus.CANCELED}),
    JobStatus.IN_PROGRESS: frozenset(
        {
            JobStatus.IN_PROGRESS,
            JobStatus.SUCCEEDED,
            JobStatus.FAILED,
            JobStatus.TIMED_OUT,
            JobStatus.CANCELED,
        }
    ),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.TIMED_OUT: frozenset(),
    JobStatus.REJECTED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}


class TransitionRefused(Conflict):
    """The execution cannot go to that status from where it is."""

    code = "job.transition_refused"


def moved(status: JobStatus, to: JobStatus) -> JobStatus:
    """Return `to`. Raises TransitionRefused when it cannot come after `status`."""
    if not status.may_become(to):
        raise TransitionRefused(f"a job that is {status} cannot become {to}", status=status, wanted=to)
    return to


class StepKind(StrEnum):
    """What a step runs."""

    RUN_HANDLER = "runHandler"
    RUN_COMMAND = "runCommand"


class ConditionKind(StrEnum):
    """How a fact of the device is compared with a condition's values."""

    STRING_EQUAL = "stringEqual"
    STRING_NOT_EQUAL = "stringNotEqual"


class ExecutionKind(StrEnum):
    """How often a job runs."""

    ONE_TIME = "oneTime"
    RECURRING = "recurring"
    """At moments that the schedule gives."""
    CONTINUOUS = "continuous"
    """Again some time after it ended."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a device must be like; one of the values is enough."""

    key: str
    values: tuple[str, ...]
    kind: ConditionKind = ConditionKind.STRING_EQUAL


@dataclass(frozen=True, slots=True)
class JobStep:
    """One process. `words` are the command, or the handler's file name and its arguments."""

    name: str
    kind: StepKind
    words: tuple[str, ...]
    folder: str = ""
    """Where the handler is, below the folder of handlers."""
    run_as_user: str = ""
    stderr_lines: int | None = None
    """More lines than these on standard error fail the step; None: any number is fine."""
    ignore_failure: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs. Times are seconds since 1970."""

    not_before: float | None = None
    interval_s: float | None = None
    cron: Cron | None = None

    def next_after(self, now: float) -> float | None:
        """Return the next moment of something that recurs; None when nothing does."""
        if self.cron is not None:
            return self.cron.next_after(now)
        return None if self.interval_s is None else now + self.interval_s


@dataclass(frozen=True, slots=True)
class JobDocument:
    """What a job does."""

    steps: tuple[JobStep, ...]
    final_step: JobStep | None = None
    conditions: tuple[Condition, ...] = ()
    include_stdout: bool = False
    execution: ExecutionKind = ExecutionKind.ONE_TIME
    schedule: Schedule = Schedule()
    max_executions: int | None = None
    max_duration_s: float | None = None
    report_progress: bool = False
