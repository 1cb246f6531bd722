"""Jobs, their parts on devices, and why they may be refused. Times are aware."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from iotistic.contracts.jobs import ExecutionKind, JobStatus
from iotistic.control.jobs.filters import Filter
from iotistic.kernel.errors import Conflict, Invalid, NotFound


class JobUnknown(NotFound):
    """There is no such job, or it is not one of this device."""

    code = "job.unknown"


class TemplateUnknown(NotFound):
    """There is no such template."""

    code = "job.template_unknown"


class HandlerUnknown(NotFound):
    """There is no such handler."""

    code = "job.handler_unknown"


class ScheduleUnknown(NotFound):
    """There is no such schedule."""

    code = "job.schedule_unknown"


class NameTaken(Conflict):
    """Something of this kind has this name already."""

    code = "job.name_taken"


class TemplateInactive(Conflict):
    """The template is switched off."""

    code = "job.template_inactive"


class OrderInvalid(Invalid):
    """What is asked for contradicts itself, or lacks something."""

    code = "job.order_invalid"


class DocumentInvalid(Invalid):
    """The job document cannot be understood."""

    code = "job.document_invalid"


class ScheduleInvalid(Invalid):
    """The schedule cannot be understood, or never comes."""

    code = "job.schedule_invalid"


class DevicesUnknown(Invalid):
    """Some of the devices are not there."""

    code = "job.devices_unknown"


class NobodySelected(Conflict):
    """No device is selected."""

    code = "job.nobody_selected"


class JobOver(Conflict):
    """The job is over."""

    code = "job.over"


class JobUnderWay(Invalid):
    """The job is under way."""

    code = "job.under_way"


class ReportInvalid(Invalid):
    """The report is not about how a job stands."""

    code = "job.report_invalid"


class ReportOutOfTurn(Conflict):
    """The report cannot be told from one about an earlier try."""

    code = "job.report_out_of_turn"


class TargetKind(StrEnum):
    """How devices are chosen."""

    DEVICE = "device"
    GROUP = "group"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which devices a job is for. Devices that are switched off belong to none but a list."""

    kind: TargetKind
    devices: tuple[UUID, ...] = ()
    filter: Filter | None = None
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The filter as it was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be run, and within which bounds."""

    name: str
    document: Mapping[str, Any]
    """As devices get it."""
    template_id: UUID | None
    selection: Selection
    scope: list[UUID] | None
    """What whoever ordered it may see; None is everything."""
    timeout_s: int
    """For one try on one device, from its beginning."""
    wait_s: int
    """How long a device may take to begin."""
    attempts: int = 1
    backoff_s: int = 60
    """Before the second try; twice as long before each further one."""
    lasts_s: int | None = None
    """For the whole job, from its start."""
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Parts of a job by status."""

    queued: int = 0
    in_progress: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    rejected: int = 0
    canceled: int = 0

    @property
    def total(self) -> int:
        """Devices."""
        return self.open + self.succeeded + self.failed + self.timed_out + self.rejected + self.canceled

    @property
    def open(self) -> int:
        """Devices that are not done."""
        return self.queued + self.in_progress

    def outcome(self) -> JobStatus:
        """Return what it comes to once nothing is open: the worst of its parts."""
        worst = (
            (self.failed, JobStatus.FAILED),
            (self.timed_out, JobStatus.TIMED_OUT),
            (self.rejected, JobStatus.REJECTED),
            (self.canceled, JobStatus.CANCELED),
        )
        return next((status for count, status in worst if count), JobStatus.SUCCEEDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One execution."""

    id: UUID
    order: Order
    execution: ExecutionKind
    schedule_id: UUID | None
    due_at: datetime | None
    status: JobStatus
    starts_at: datetime
    opened_at: datetime | None
    ends_at: datetime | None
    reason: str
    canceled_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    summary: Summary = Summary()


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What recurs: an order, and the moments at which it becomes a job."""

    id: UUID
    order: Order
    cron_expression: str | None
    interval_s: int | None
    time_zone: str
    begins_at: datetime
    ends_at: datetime | None
    max_executions: int | None
    executions: int
    missed: int
    is_active: bool
    next_due_at: datetime | None
    last_due_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A document with a name."""

    id: UUID
    name: str
    description: str
    category: str
    document: Mapping[str, Any]
    is_active: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A program that documents call by name."""

    id: UUID
    name: str
    description: str
    script_type: str
    script_content: str
    default_args: tuple[str, ...]
    created_by: str
    created_at: datetime
    updated_at: datetime
