"""What cloud and device tell each other about jobs.

    MQTT  iot/device/{uuid}/jobs/notify-next      {execution: {jobId, jobDocument, executionNumber, status}, timestamp}
    HTTP  GET /devices/{uuid}/jobs/next           {job_id, job_name, job_document, timeout_seconds, created_at}
    MQTT  iot/device/{uuid}/jobs/{jobId}/update   a report
    HTTP  PATCH /devices/{uuid}/jobs/{jobId}/status  the same

What stands around a document is read leniently, since clouds add to it; the document itself is not read here,
so that one with faults can be rejected by its job's id.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from iotistic.contracts.jobs import JobStatus
from iotistic.contracts.reading import Fault, Fields, choice, shown, text, whole

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_MOST_TIMEOUT_S = 366 * 86_400
_MOST_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as it arrived."""

    job_id: str
    number: int | None = None
    """Which execution of the job it is; None when the sender does not say."""
    name: str = ""
    document: object = None
    """Unread; None when the message is only about the job's status."""
    timeout_s: float | None = None
    status: JobStatus | None = None


@dataclass(frozen=True, slots=True)
class JobReport:
    """How an execution stands."""

    status: JobStatus
    reason: str = ""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    executed_steps: int = 0
    failed_step: str = ""
    status_details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_fields(self) -> dict[str, Any]:
        """Return the message, without what there is nothing to say about."""
        fields: dict[str, Any] = {
            "exit_code": self.exit_code,
            "stdout": self.stdout or None,
            "stderr": self.stderr or None,
            "reason": self.reason or None,
            "failed_step": self.failed_step or None,
            "status_details": dict(self.status_details) or None,
        }
        said = {name: value for name, value in fields.items() if value is not None}
        return {"status": self.status.value, "executed_steps": self.executed_steps, **said}


def read_order(message: object) -> tuple[JobOrder | None, list[Fault]]:
    """Read a job from either message. No order and no faults: the message says that there is no job."""
    faults: list[Fault] = []
    outer = Fields(message, "", faults)
    execution = outer.raw("execution")
    if execution is None and outer.raw("job_id", "jobId") is None:
        return None, faults
    given = outer if execution is None else Fields(execution, "execution", faults)
    if not faults and execution == {}:
        return None, faults
    order = JobOrder(
        job_id=given.take("job_id", job_id, "", "jobId"),
        number=given.take("execution_number", whole(0, _MOST_NUMBER), None, "executionNumber"),
        name=given.take("job_name", text(255), "", "jobName"),
        document=given.raw("job_document", "jobDocument"),
        timeout_s=given.take("timeout_seconds", _timeout, None, "timeoutSeconds"),
        status=given.take("status", choice(JobStatus), None),
    )
    if not order.job_id and not faults:
        given.fault("jobId", "is missing")
    return order if order.job_id and not faults else None, faults


def read_answer(message: object) -> JobStatus | None:
    """Return the status that the cloud has for a job after a report; None when it does not say."""
    if not isinstance(message, dict):
        return None
    fields = cast("Mapping[str, object]", message)
    inner = fields.get("executionState")
    said = cast("Mapping[str, object]", inner if isinstance(inner, dict) else fields).get("status")
    return JobStatus(said) if isinstance(said, str) and said in JobStatus.__members__ else None


def job_id(value: object) -> str:
    """Read a job's id, which becomes part of paths and topics. Raises ValueError."""
    said = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(said, str) or _ID.fullmatch(said) is None:
        raise ValueError(f"is to be a job's id, not {shown(value)}")
    return said


def update_topic(uuid: str, job: str) -> str:
    """Return where a device tells how a job stands."""
    return f"iot/device/{uuid}/jobs/{job}/update"


def notify_topic(uuid: str) -> str:
    """Return where a device hears of its next job."""
    return f"iot/device/{uuid}/jobs/notify-next"


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_TIMEOUT_S:
        raise ValueError(f"is to be a number of seconds, not {shown(value)}")
    return float(value)
