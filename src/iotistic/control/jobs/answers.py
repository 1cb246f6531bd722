"""What is answered about jobs as its description has it; the answers themselves are made in `shown`.

Times are UTC with milliseconds. Sizes of time say their unit: minutes for people, seconds for devices.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.jobs.model import TargetKind
from iotistic.kernel.web.describing import Absent, Answer


class _Order(Answer):
    job_name: str
    job_document: dict[str, Any] | Absent = Field(None, description="As devices get it; lists leave it out.")
    template_id: UUID | None
    target_type: TargetKind
    target_devices: list[UUID]
    target_filter: dict[str, Any] = Field(description="As it was written; empty where there is none.")
    timeout_minutes: int
    queue_timeout_minutes: int
    job_timeout_minutes: int | None
    max_attempts: int
    retry_backoff_seconds: int
    created_by: str


class JobCounts(Answer):
    """The devices of a job by how it stands on them."""

    total: int
    queued: int
    in_progress: int
    succeeded: int
    failed: int
    timed_out: int
    rejected: int
    canceled: int


class JobExecution(_Order):
    """A job."""

    job_id: UUID
    execution_type: ExecutionKind
    status: JobStatus
    reason: str
    schedule_id: UUID | None
    canceled_by: str | None
    scheduled_at: datetime
    opened_at: datetime | None
    ends_at: datetime | None
    due_at: datetime | None = Field(description="The moment of the schedule that it is for.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    summary: JobCounts


class JobSchedule(_Order):
    """What makes jobs again and again."""

    schedule_id: UUID
    execution_type: Literal["recurring"]
    schedule_type: Literal["cron", "interval"]
    cron_expression: str | None
    interval_minutes: int | None
    time_zone: str
    is_active: bool
    max_executions: int | None
    executions: int
    missed: int
    begins_at: datetime
    ends_at: datetime | None
    created_at: datetime
    next_due_at: datetime | None
    last_due_at: datetime | None
    updated_at: datetime


class ScheduledJob(JobSchedule):
    """A schedule where a job was asked for: its id stands for the job's, each round is a job of its own."""

    job_id: UUID
    status: Literal["QUEUED"]


class JobOrdered(Answer):
    """What was made of an order: a job, or a schedule."""

    job: JobExecution | ScheduledJob
    message: str


class JobPreview(Answer):
    """How many devices would be selected now, and a few of them."""

    total: int
    devices: list[UUID]


class JobOnDevice(Answer):
    """How a job stands on a device."""

    job_id: UUID
    device_uuid: UUID
    job_name: str | Absent = Field(None, description="Only there among the jobs of a device.")
    status: JobStatus
    execution_number: int
    version_number: int
    reason: str
    exit_code: int | None
    stdout: str
    stderr: str
    stdout_truncated: bool = Field(description="Whether more is kept than is shown here.")
    stderr_truncated: bool
    executed_steps: int
    failed_step: str
    status_details: dict[str, Any] = Field(description="What the device said besides.")
    said_by_device: JobStatus | None
    queued_at: datetime
    available_at: datetime
    deadline: datetime
    handed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class JobExecutions(Answer):
    """Jobs, the newest first; `next_cursor` is null on the last page."""

    executions: list[JobExecution]
    next_cursor: str | None


class JobWithDevices(Answer):
    """A job, and how it stands on its first devices."""

    job: JobExecution
    device_statuses: list[JobOnDevice]


class JobCanceled(Answer):
    """A job that was ended."""

    job: JobExecution
    message: str


class JobDevices(Answer):
    """How a job stands on its devices, by their uuids; `next_after` is null on the last page."""

    device_statuses: list[JobOnDevice]
    next_after: UUID | None


class JobDevice(Answer):
    """How a job stands on one device."""

    device_status: JobOnDevice


class DeviceJobs(Answer):
    """The jobs of a device, the newest first; `next_cursor` is null on the last page."""

    jobs: list[JobOnDevice]
    next_cursor: str | None


class JobSchedules(Answer):
    """Schedules, the newest first; `next_cursor` is null on the last page."""

    schedules: list[JobSchedule]
    next_cursor: str | None


class OneJobSchedule(Answer):
    """A schedule."""

    schedule: JobSchedule


class JobSchedulerStatus(Answer):
    """What is due, and not done yet."""

    active_schedules: int
    next_due_at: datetime | None
    due_schedules: int
    due_jobs: int
    late_parts: int = Field(description="Jobs on single devices whose deadline is over.")


class NextJob(Answer):
    """What a device is to do; one that is cancelled comes without its document."""

    job_id: UUID
    job_name: str
    job_document: dict[str, Any] | None
    timeout_seconds: int | None
    created_at: datetime
    execution_number: int
    status: JobStatus


class JobReported(Answer):
    """How a job stands here after a report; CANCELED for one that is to be ended."""

    status: JobStatus
    version_number: int
    job_id: UUID


class JobMessage(Answer):
    """That it is done."""

    message: str
