"""What the routes of jobs take; snake_case, as dashboards of the earlier system send it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from iotistic.contracts.jobs import ExecutionKind
from iotistic.control.jobs.model import TargetKind
from iotistic.control.jobs.orders import Asked

_NO_NUL = r"^[^\x00]*$"
_MOST_MINUTES = 366 * 24 * 60
_MINUTE_S = 60
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_NO_NUL)]
Short = Annotated[str, StringConstraints(max_length=255, pattern=_NO_NUL)]
Long = Annotated[str, StringConstraints(max_length=2000, pattern=_NO_NUL)]
Script = Annotated[str, StringConstraints(min_length=1, max_length=262_144, pattern=_NO_NUL)]
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=_NO_NUL)]
Minutes = Annotated[int, Field(ge=1, le=_MOST_MINUTES)]
ScriptType = Literal["bash", "python", "node"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TemplateRequest(_Shape):
    """A template."""

    name: Name
    description: Long = ""
    category: Short = ""
    job_document: dict[str, Any]
    is_active: bool = True

    def values(self) -> dict[str, Any]:
        """Return it by the names of a template's fields."""
        return _renamed(self.model_dump())


class TemplateChange(_Shape):
    """What changes of a template; what is not named stays."""

    name: Name | None = None
    description: Long | None = None
    category: Short | None = None
    job_document: dict[str, Any] | None = None
    is_active: bool | None = None

    def values(self) -> dict[str, Any]:
        """Return what is named, by the names of a template's fields."""
        return _renamed(self.model_dump(exclude_none=True))


class HandlerRequest(_Shape):
    """A handler."""

    name: Name
    description: Long = ""
    script_type: ScriptType
    script_content: Script
    default_args: Annotated[list[Argument], Field(max_length=100)] = []

    def values(self) -> dict[str, Any]:
        """Return it by the names of a handler's fields."""
        return self.model_dump()


class HandlerChange(_Shape):
    """What changes of a handler; what is not named stays."""

    name: Name | None = None
    description: Long | None = None
    script_type: ScriptType | None = None
    script_content: Script | None = None
    default_args: Annotated[list[Argument], Field(max_length=100)] | None = None

    def values(self) -> dict[str, Any]:
        """Return what is named."""
        return self.model_dump(exclude_none=True)


class TargetRequest(_Shape):
    """Which devices."""

    target_type: TargetKind
    target_devices: Annotated[list[UUID], Field(max_length=10_000)] = []
    target_filter: dict[str, Any] | None = Field(
        default=None,
        examples=[{"fleet_id": "hall-1", "agent_version": {"lt": "2.4"}, "tags": {"line": ["a", "b"]}}],
    )


class _OrderRequest(TargetRequest):
    job_name: Name
    job_document: dict[str, Any] | None = None
    template_id: UUID | None = None
    timeout_minutes: Minutes = Field(default=60, description="For one try on one device, from its beginning.")
    queue_timeout_minutes: Minutes | None = Field(
        default=None, description="How long a device may take to begin; JOB_WAIT_HOURS when not said."
    )
    job_timeout_minutes: Minutes | None = Field(
        default=None, description="For the whole job, from its start."
    )
    max_attempts: int = Field(default=1, ge=1, le=10)
    retry_backoff_seconds: int = Field(default=60, ge=1, le=86_400)
    max_executions: int | None = Field(default=None, ge=1, le=1_000_000)
    created_by: Short | None = Field(default=None, description="Passed over: the credential says who it is.")

    def _asked(self, **others: Any) -> Asked:
        lasts, waits = self.job_timeout_minutes, self.queue_timeout_minutes
        return Asked(
            name=self.job_name,
            document=self.job_document,
            template_id=self.template_id,
            target=self.target_type,
            devices=self.target_devices,
            filter=self.target_filter,
            timeout_s=self.timeout_minutes * _MINUTE_S,
            wait_s=None if waits is None else waits * _MINUTE_S,
            lasts_s=None if lasts is None else lasts * _MINUTE_S,
            attempts=self.max_attempts,
            backoff_s=self.retry_backoff_seconds,
            max_executions=self.max_executions,
            **others,
        )


class Timing(_Shape):
    """When a job runs."""

    scheduled_at: AwareDatetime | None = Field(default=None, description="Not before this time.")
    ends_at: AwareDatetime | None = Field(default=None, description="Over at this time; no round after it.")
    schedule_type: Literal["cron", "interval"] | None = None
    cron_expression: Annotated[str, StringConstraints(max_length=200)] | None = None
    interval_minutes: Minutes | None = None
    time_zone: Annotated[str, StringConstraints(max_length=64)] = "UTC"

    def times(self) -> dict[str, Any]:
        """Return them by the names of what is asked for."""
        return {
            "starts_at": self.scheduled_at,
            "ends_at": self.ends_at,
            "cron_expression": self.cron_expression,
            "interval_s": None if self.interval_minutes is None else self.interval_minutes * _MINUTE_S,
            "time_zone": self.time_zone,
        }


class ExecuteRequest(_OrderRequest):
    """A job."""

    execution_type: ExecutionKind | None = Field(
        default=None, description="oneTime unless this or the document says otherwise."
    )
    schedule: Timing = Timing()

    def asked(self) -> Asked:
        """Return it as the service takes it."""
        return self._asked(execution=self.execution_type, **self.schedule.times())


class ScheduleRequest(_OrderRequest, Timing):
    """A job that recurs."""

    def asked(self) -> Asked:
        """Return it as the service takes it."""
        return self._asked(execution=ExecutionKind.RECURRING, **self.times())


class ScheduleChange(_Shape):
    """What changes of a schedule; what is not named stays."""

    job_name: Name | None = None
    cron_expression: Annotated[str, StringConstraints(max_length=200)] | None = None
    interval_minutes: Minutes | None = None
    time_zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    ends_at: AwareDatetime | None = None
    max_executions: int | None = Field(default=None, ge=1, le=1_000_000)
    is_active: bool | None = None

    def values(self) -> dict[str, Any]:
        """Return what is named, by the names of a schedule's fields; null takes an end away."""
        named: dict[str, Any] = {
            name: value
            for name, value in self.model_dump(exclude_unset=True).items()
            if value is not None or name in ("ends_at", "max_executions")
        }
        if "job_name" in named:
            named["name"] = named.pop("job_name")
        if "interval_minutes" in named:
            named["interval_s"] = named.pop("interval_minutes") * _MINUTE_S
        return named


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    if "job_document" in values:
        values["document"] = values.pop("job_document")
    return values


def written(at: datetime | None) -> str | None:
    """Return a time as answers have it: ISO 8601, UTC, milliseconds."""
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
