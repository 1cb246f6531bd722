"""What jobs need of the process, and what others see of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from iotistic.agent.jobs.journal import Entry
from iotistic.contracts.jobs import JobStatus


@dataclass(frozen=True)
class Around:
    """What jobs need of the process. `clock` is seconds since 1970, `chance` between 0 and 1."""

    clock: Callable[[], float]
    chance: Callable[[], float]
    facts: Callable[[], Mapping[str, str]]
    """What conditions are checked against."""
    announces: Callable[[], bool] = lambda: False
    """Whether jobs are announced now (MQTT is connected): polling is rare then."""


@dataclass(frozen=True)
class JobExecution:
    """An execution as others see it. Times are seconds since 1970."""

    job_id: str
    number: int | None
    name: str
    status: JobStatus
    reason: str
    received_at: float
    started_at: float | None
    finished_at: float | None
    step: str
    executed_steps: int
    failed_step: str
    exit_code: int | None
    runs: int
    next_run_at: float | None


def seen(entry: Entry) -> JobExecution:
    """Return an execution as others see it."""
    waits = not entry.status.is_final and not entry.is_running
    return JobExecution(
        entry.job_id,
        entry.number,
        entry.name,
        entry.status,
        entry.reason,
        entry.received_at,
        entry.started_at,
        entry.finished_at,
        entry.step,
        entry.executed_steps,
        entry.failed_step,
        entry.exit_code,
        entry.runs,
        entry.due_at if waits else None,
    )
