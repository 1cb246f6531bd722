"""What somebody asks for, made into an order: template, document, times and bounds put together and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from iotistic.contracts.jobs import ExecutionKind
from iotistic.control.access.model import Caller
from iotistic.control.devices.repository import Database
from iotistic.control.jobs import catalogue_rows, part_rows
from iotistic.control.jobs.documents import ReadDocument, handlers_in, read_document, with_arguments
from iotistic.control.jobs.model import (
    DevicesUnknown,
    Order,
    OrderInvalid,
    TargetKind,
    TemplateInactive,
    TemplateUnknown,
)
from iotistic.control.jobs.schedules import Rhythm
from iotistic.control.jobs.selection import read_selection, write_selection

_NAMED = 20
_FURTHEST = timedelta(days=3660)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A job as somebody asks for it. Durations in seconds; None where nothing is said."""

    name: str = ""
    document: Mapping[str, Any] | None = None
    template_id: UUID | None = None
    target: TargetKind
    devices: list[UUID] = field(default_factory=list[UUID])
    filter: Mapping[str, Any] | None = None
    execution: ExecutionKind | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cron_expression: str | None = None
    interval_s: int | None = None
    time_zone: str = "UTC"
    max_executions: int | None = None
    timeout_s: int = 3600
    wait_s: int | None = None
    lasts_s: int | None = None
    attempts: int = 1
    backoff_s: int = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """An order with when it is to be carried out; a rhythm where it recurs."""

    order: Order
    execution: ExecutionKind
    starts_at: datetime
    ends_at: datetime | None
    rhythm: Rhythm | None = None
    max_executions: int | None = None


class Allowance(Protocol):
    """What the plan allows."""

    async def check_jobs(self, *, scheduled: bool) -> None:
        """Raise PlanRefused unless jobs may be executed, or scheduled."""
        ...


class Everything:
    """A plan without limits."""

    async def check_jobs(self, *, scheduled: bool) -> None:
        """Allow it."""


async def make_order(db: Database, asked: Asked, *, by: Caller, now: datetime, wait_s: int) -> Ordered:
    """Return what is asked for as an order; `wait_s` is for those that do not say. Raises the errors of `model`."""
    read = await _document(db, asked)
    defaults = await catalogue_rows.default_arguments(db, sorted(handlers_in(read.document)))
    selection = read_selection(asked.target, asked.devices, asked.filter)
    scope = by.scope.parameter()
    if unknown := await part_rows.unknown(db, selection.devices, scope):
        raise DevicesUnknown(
            f"{len(unknown)} of the devices are not there", devices=[str(one) for one in unknown[:_NAMED]]
        )
    order = Order(
        name=asked.name,
        document=with_arguments(read.document, defaults),
        template_id=asked.template_id,
        selection=selection,
        scope=scope,
        timeout_s=asked.timeout_s,
        wait_s=asked.wait_s or wait_s,
        attempts=asked.attempts,
        backoff_s=asked.backoff_s,
        lasts_s=asked.lasts_s,
        created_by=by.name,
    )
    return _timed(order, asked, read, now)


def described(order: Order) -> dict[str, object]:
    """Return what the audit trail keeps of an order: not its document, whose commands may hold secrets."""
    return {"name": order.name, "template_id": order.template_id, "target": write_selection(order.selection)}


def round_ends_at(order: Order, starts_at: datetime, ends_at: datetime | None = None) -> datetime | None:
    """Return when a job is over whatever its devices are at; None when it does not say."""
    lasts = None if order.lasts_s is None else starts_at + timedelta(seconds=order.lasts_s)
    return min((one for one in (lasts, ends_at) if one is not None), default=None)


async def _document(db: Database, asked: Asked) -> ReadDocument:
    if (asked.document is None) == (asked.template_id is None):
        raise OrderInvalid("a job has either a job_document or a template_id")
    if asked.template_id is None:
        return read_document(asked.document)
    template = await catalogue_rows.template(db, asked.template_id)
    if template is None:
        raise TemplateUnknown(id=str(asked.template_id))
    if not template.is_active:
        raise TemplateInactive(name=template.name)
    return read_document(template.document)


def _timed(order: Order, asked: Asked, read: ReadDocument, now: datetime) -> Ordered:
    """What the request does not say about its times, the document may."""
    execution = asked.execution or read.execution
    starts_at = max(asked.starts_at or read.starts_at or now, now)
    if max(starts_at, asked.ends_at or now) > now + _FURTHEST:
        raise OrderInvalid(f"it is more than {_FURTHEST.days} days ahead", field="schedule")
    if asked.ends_at is not None and asked.ends_at <= starts_at:
        raise OrderInvalid("it ends before it begins", field="schedule.ends_at")
    cron, interval_s = asked.cron_expression, asked.interval_s
    if cron is None and interval_s is None:
        cron, interval_s = read.cron_expression, read.interval_s
    if execution is not ExecutionKind.RECURRING:
        if cron is not None or interval_s is not None or asked.max_executions not in (None, 1):
            raise OrderInvalid(
                f"a job that is {execution} has no rhythm", hint="execution_type recurring has one"
            )
        ends_at = round_ends_at(order, starts_at, asked.ends_at)
        return Ordered(order=order, execution=execution, starts_at=starts_at, ends_at=ends_at)
    if (cron is None) == (interval_s is None):
        raise OrderInvalid("a job that recurs has either a cron_expression or interval_minutes")
    rhythm = Rhythm(
        begins_at=starts_at,
        cron_expression=cron,
        interval_s=interval_s,
        time_zone=asked.time_zone,
        ends_at=asked.ends_at,
    )
    return Ordered(
        order=order,
        execution=execution,
        starts_at=starts_at,
        ends_at=asked.ends_at,
        rhythm=rhythm,
        max_executions=asked.max_executions or read.max_executions,
    )
