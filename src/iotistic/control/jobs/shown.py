"""Jobs, parts, schedules, templates and handlers as answers show them."""

from typing import Any

from iotistic.control.jobs.model import Handler, Job, Order, Schedule, Summary, Template
from iotistic.control.jobs.part_rows import PartRow
from iotistic.control.jobs.schemas import written

_MINUTE_S = 60


def shown_job(job: Job, *, document: bool = True) -> dict[str, Any]:
    """Return a job; lists leave the document out."""
    times = {
        "scheduled_at": job.starts_at,
        "opened_at": job.opened_at,
        "ends_at": job.ends_at,
        "due_at": job.due_at,
    }
    moments = {"created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at}
    return {
        "job_id": str(job.id),
        "execution_type": job.execution.value,
        "status": job.status.value,
        "reason": job.reason,
        "schedule_id": None if job.schedule_id is None else str(job.schedule_id),
        "canceled_by": job.canceled_by,
        **_order(job.order, document=document),
        **{name: written(at) for name, at in (times | moments).items()},
        "summary": _summary(job.summary),
    }


def shown_schedule(schedule: Schedule, *, document: bool = True) -> dict[str, Any]:
    """Return a schedule."""
    interval_s = schedule.interval_s
    times = {"begins_at": schedule.begins_at, "ends_at": schedule.ends_at, "created_at": schedule.created_at}
    moments = {"next_due_at": schedule.next_due_at, "last_due_at": schedule.last_due_at}
    return {
        "schedule_id": str(schedule.id),
        "execution_type": "recurring",
        "schedule_type": "cron" if interval_s is None else "interval",
        "cron_expression": schedule.cron_expression,
        "interval_minutes": None if interval_s is None else interval_s // _MINUTE_S,
        "time_zone": schedule.time_zone,
        "is_active": schedule.is_active,
        "max_executions": schedule.max_executions,
        "executions": schedule.executions,
        "missed": schedule.missed,
        **_order(schedule.order, document=document),
        **{name: written(at) for name, at in (times | moments).items()},
        "updated_at": written(schedule.updated_at),
    }


def shown_part(row: PartRow) -> dict[str, Any]:
    """Return how a job stands on a device."""
    part = row.part
    cut = {"stdout_truncated": (row.stdout_length or 0) > len(part.stdout)}
    cut["stderr_truncated"] = (row.stderr_length or 0) > len(part.stderr)
    return {
        "job_id": str(row.job_id),
        "device_uuid": str(row.device_uuid),
        **({"job_name": row.job_name} if row.job_name else {}),
        "status": part.status.value,
        "execution_number": part.attempt,
        "version_number": row.version,
        "reason": part.reason,
        "exit_code": part.exit_code,
        "stdout": part.stdout,
        "stderr": part.stderr,
        **cut,
        "executed_steps": part.executed_steps,
        "failed_step": part.failed_step,
        "status_details": dict(part.details),
        "said_by_device": None if part.said is None else part.said.value,
        "queued_at": written(row.queued_at),
        "available_at": written(part.available_at),
        "deadline": written(part.deadline),
        "handed_at": written(row.handed_at),
        "started_at": written(part.started_at),
        "finished_at": written(part.finished_at),
    }


def shown_template(template: Template) -> dict[str, Any]:
    """Return a template."""
    return {
        "id": str(template.id),
        "name": template.name,
        "description": template.description,
        "category": template.category,
        "job_document": dict(template.document),
        "is_active": template.is_active,
        "created_by": template.created_by,
        "created_at": written(template.created_at),
        "updated_at": written(template.updated_at),
    }


def shown_handler(handler: Handler) -> dict[str, Any]:
    """Return a handler."""
    return {
        "id": str(handler.id),
        "name": handler.name,
        "description": handler.description,
        "script_type": handler.script_type,
        "script_content": handler.script_content,
        "default_args": list(handler.default_args),
        "created_by": handler.created_by,
        "created_at": written(handler.created_at),
        "updated_at": written(handler.updated_at),
    }


def _order(order: Order, *, document: bool) -> dict[str, Any]:
    lasts_s = order.lasts_s
    return {
        "job_name": order.name,
        **({"job_document": dict(order.document)} if document else {}),
        "template_id": None if order.template_id is None else str(order.template_id),
        "target_type": order.selection.kind.value,
        "target_devices": [str(device) for device in order.selection.devices],
        "target_filter": dict(order.selection.asked),
        "timeout_minutes": order.timeout_s // _MINUTE_S,
        "queue_timeout_minutes": order.wait_s // _MINUTE_S,
        "job_timeout_minutes": None if lasts_s is None else lasts_s // _MINUTE_S,
        "max_attempts": order.attempts,
        "retry_backoff_seconds": order.backoff_s,
        "created_by": order.created_by,
    }


def _summary(summary: Summary) -> dict[str, int]:
    return {
        "total": summary.total,
        "queued": summary.queued,
        "in_progress": summary.in_progress,
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "timed_out": summary.timed_out,
        "rejected": summary.rejected,
        "canceled": summary.canceled,
    }
