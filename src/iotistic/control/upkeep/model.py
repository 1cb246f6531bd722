"""Tasks, their moments, and what becomes of a run. Pure."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from iotistic.control.jobs.schedules import Rhythm
from iotistic.kernel.errors import Conflict, Invalid, IotisticError, NotFound

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_EVERY = re.compile(r"every ([1-9][0-9]{0,6}) s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_OUTPUT, _MOST_ERROR, _MOST_CODE = 16_000, 2000, 200
_RETRIES = (timedelta(minutes=1), timedelta(minutes=10))
_SET_BACK = timedelta(hours=1)
"""Clocks of processes differ by less than this; what lies further ahead was written by a clock that was wrong."""

Work = Callable[[], Awaitable[Mapping[str, object]]]
"""What a task does. Whatever it returns is shown as the output; errors are shown with their code."""


class TaskUnknown(NotFound):
    """There is no such task."""

    code = "upkeep.task_unknown"


class RunUnknown(NotFound):
    """There is no such run of this task, or it is forgotten by now."""

    code = "upkeep.run_unknown"


class TaskRunning(Conflict):
    """The task runs now."""

    code = "upkeep.task_running"


class TaskElsewhere(Conflict):
    """The work is shown here only: another process does it by its own rhythm."""

    code = "upkeep.runs_elsewhere"


class TaskInvalid(Invalid):
    """A task is not described as one can be carried out."""

    code = "upkeep.task_invalid"


class Outcome(StrEnum):
    """How a run stands, or what became of it."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LATE = "late"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Something that is done by itself. Safe to be done twice, and to be given up at any point."""

    name: str
    summary: str
    schedule: str
    """Five fields of cron, in UTC, or `every N s`."""
    work: Work = field(repr=False)
    deadline_s: float = 600.0
    spread_s: float = 0.0
    """By how much later than its moment it is done at most, by chance; so that installations do not act as one."""
    is_soon: bool = False
    """Whether it is due at once when the list first hears of it."""

    def check(self) -> None:
        """Raise TaskInvalid or ScheduleInvalid for what could not be carried out."""
        if not _NAME.fullmatch(self.name) or self.deadline_s <= 0:
            raise TaskInvalid(
                f"{self.name!r} needs a name of a-z, 0-9 and hyphens, and a deadline above zero"
            )
        if rhythm_of(self.schedule).next_after(datetime.now(UTC)) is None:
            raise TaskInvalid(f"the schedule of {self.name!r} never comes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """Work that another process does by a rhythm of its own: shown, and not to be driven from here."""

    name: str
    summary: str
    schedule: str
    where: str
    """The process that does it."""
    look: Work = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run."""

    id: int
    task: str
    cause: str
    asked_by: str | None
    due_at: datetime | None
    missed: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    outcome: Outcome
    output: str
    error_code: str
    error: str
    process: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A task as the database knows it."""

    name: str
    summary: str
    schedule: str
    deadline_s: float
    is_enabled: bool
    next_due_at: datetime
    last_due_at: datetime | None
    retry_at: datetime | None
    tries: int
    seen_at: datetime

    @property
    def next_run_at(self) -> datetime | None:
        """When it is done next by itself; None while it is switched off."""
        if not self.is_enabled:
            return None
        return self.next_due_at if self.retry_at is None else min(self.retry_at, self.next_due_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """What became of a run."""

    outcome: Outcome
    output: Mapping[str, object] = field(default_factory=dict[str, object])
    error_code: str = ""
    error: str = ""

    @property
    def shown_output(self) -> str:
        """The output as JSON, of a bounded length."""
        text = json.dumps(dict(self.output), default=str)
        return text if len(text) <= _MOST_OUTPUT else json.dumps({"cut": _plain(text)[: _MOST_OUTPUT // 3]})

    @classmethod
    def failed(cls, exc: BaseException) -> "End":
        """Describe an error."""
        code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
        reason = exc.message if isinstance(exc, IotisticError) else str(exc)
        return cls(outcome=Outcome.FAILED, error_code=code[:_MOST_CODE], error=_plain(reason)[:_MOST_ERROR])


def rhythm_of(schedule: str) -> Rhythm:
    """Return the moments of a schedule; that it can be read shows when they are asked for."""
    if every := _EVERY.fullmatch(schedule):
        return Rhythm(begins_at=_EPOCH, interval_s=int(every[1]))
    return Rhythm(begins_at=_EPOCH, cron_expression=schedule)


def next_due(schedule: str, after: datetime) -> datetime:
    """Return the first moment after a time. Raises ScheduleInvalid, TaskInvalid."""
    found = rhythm_of(schedule).next_after(after)
    if found is None:
        raise TaskInvalid(f"the schedule {schedule!r} never comes")
    return found


def mended(standing: Standing, now: datetime, *, spread_s: float = 0) -> datetime | None:
    """Return when a task is due that would be due too late; None when it is right as it is.

    Too late is what lies behind the next moment: the schedule was changed, or a clock was ahead and set back.
    A moment that was acted on by a clock a little ahead of ours is not due again.
    """
    last = standing.last_due_at
    after = now if last is None or is_wrong(last, now) else max(now, last)
    due_at = next_due(standing.schedule, after)
    return due_at if standing.next_due_at > due_at + timedelta(seconds=spread_s) else None


def is_wrong(at: datetime, now: datetime) -> bool:
    """Say whether a time that should have passed lies so far ahead that a clock was wrong."""
    return at > now + _SET_BACK


def retry_after(end: Outcome, tries: int, now: datetime) -> datetime | None:
    """Return when a run that did not succeed is tried again; None: at its next moment.

    What was told to stop goes on at once; what was lost too, twice: it may be what kills its process.
    """
    if end is Outcome.STOPPED:
        return now
    if tries > len(_RETRIES):
        return None
    return now if end is Outcome.LOST else now + _RETRIES[tries - 1]


def _plain(text: str) -> str:
    """Return text as every column takes it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
