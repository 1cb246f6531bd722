"""Shapes of the list on the wire."""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from iotistic.control.upkeep.model import Run
from iotistic.control.upkeep.service import Listed, Seen


class RunState(BaseModel):
    """One run of a task."""

    id: int
    task: str
    outcome: Literal["waiting", "running", "succeeded", "failed", "late", "lost", "stopped"]
    cause: Literal["schedule", "retry", "asked"]
    asked_by: str | None
    due_at: datetime | None
    missed: int = Field(description="Moments before this one that nobody was there to act on.")
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    output: dict[str, Any]
    error_code: str
    error: str
    process: str = Field(description="Host, process id, and what tells two of the same id apart.")

    @classmethod
    def of(cls, run: Run) -> "RunState":
        """Show a run."""
        return cls(
            id=run.id,
            task=run.task,
            outcome=run.outcome.value,
            cause=run.cause,  # pyright: ignore[reportArgumentType]  the table allows these only
            asked_by=run.asked_by,
            due_at=run.due_at,
            missed=run.missed,
            asked_at=run.asked_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_s=run.duration_s,
            output=json.loads(run.output),
            error_code=run.error_code,
            error=run.error,
            process=run.process,
        )


class TaskState(BaseModel):
    """A task: when it is done, and what became of it last."""

    name: str
    summary: str
    schedule: str = Field(description="Five fields of cron in UTC, or `every N s`.")
    where: str = Field(description="The process that does it.")
    is_read_only: bool
    enabled: bool
    status: Literal["idle", "waiting", "running", "off", "overdue", "unattended", "elsewhere"]
    deadline_s: float | None = None
    next_run_at: datetime | None = None
    tries: int = Field(default=0, description="Runs in a row that did not succeed.")
    current_run: RunState | None = None
    last_run: RunState | None = None
    figures: dict[str, Any] = Field(default_factory=dict[str, Any])
    error: str = ""

    @classmethod
    def of(cls, listed: Listed) -> "TaskState":
        """Show a task."""
        standing = listed.standing
        return cls(
            name=standing.name,
            summary=standing.summary,
            schedule=standing.schedule,
            where="control",
            is_read_only=False,
            enabled=standing.is_enabled,
            status=_status(listed),
            deadline_s=standing.deadline_s,
            next_run_at=standing.next_run_at,
            tries=standing.tries,
            current_run=RunState.of(listed.open_run) if listed.open_run else None,
            last_run=RunState.of(listed.last_run) if listed.last_run else None,
        )

    @classmethod
    def seen(cls, seen: Seen) -> "TaskState":
        """Show work of another process."""
        watched = seen.watched
        return cls(
            name=watched.name,
            summary=watched.summary,
            schedule=watched.schedule,
            where=watched.where,
            is_read_only=True,
            enabled=True,
            status="elsewhere",
            figures=dict(seen.figures),
            error=seen.fault.error or seen.fault.error_code if seen.fault else "",
        )


class TaskList(BaseModel):
    """Every task."""

    tasks: list[TaskState]


class TaskDetail(BaseModel):
    """One task with its newest runs."""

    task: TaskState
    runs: list[RunState]


class RunAnswer(BaseModel):
    """One run."""

    run: RunState


class UpkeepStatus(BaseModel):
    """The list in one look."""

    is_attended: bool = Field(description="Whether a process carries the tasks out.")
    tasks: int
    enabled: int
    running: list[str]
    overdue: list[str]
    failing: list[str] = Field(description="Tasks whose last run did not succeed.")
    next_run_at: datetime | None


class ToggleRequest(BaseModel):
    """Off or on; without it, to the other."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool | None = Field(default=None, strict=True)


def status_of(tasks: list[Listed]) -> UpkeepStatus:
    """Sum up."""
    nexts = [at for one in tasks if (at := one.standing.next_run_at) is not None]
    bad = ("failed", "late", "lost")
    return UpkeepStatus(
        is_attended=any(one.is_seen for one in tasks),
        tasks=len(tasks),
        enabled=sum(one.standing.is_enabled for one in tasks),
        running=[one.standing.name for one in tasks if one.open_run and one.open_run.started_at],
        overdue=[one.standing.name for one in tasks if one.is_overdue],
        failing=[one.standing.name for one in tasks if one.last_run and one.last_run.outcome.value in bad],
        next_run_at=min(nexts, default=None),
    )


def _status(
    listed: Listed,
) -> Literal["idle", "waiting", "running", "off", "overdue", "unattended"]:
    if listed.open_run is not None and listed.open_run.started_at is not None:
        return "running"
    if not listed.is_seen:
        return "unattended"
    if listed.open_run is not None:
        return "waiting"
    if not listed.standing.is_enabled:
        return "off"
    return "overdue" if listed.is_overdue else "idle"
