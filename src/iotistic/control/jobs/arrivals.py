"""A part's life: one job on one device, whatever is heard, in whichever order. Pure.

    QUEUED --begun--> IN_PROGRESS --told, or too late--> an end, or QUEUED again for a further try

- An end stays. What a device tells afterwards is kept beside it (`said`, output), and changes nothing.
- A report names its try, or is taken for one about the present try where nothing else is possible.
- An end that comes before its beginning was told is an end: the beginning was lost, or is late.
- A part that is open has a deadline that nothing but a further try moves.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from iotistic.contracts.jobs import JobStatus
from iotistic.contracts.reading import Fault, Fields, choice, shown, whole
from iotistic.control.jobs.model import ReportInvalid, ReportOutOfTurn
from iotistic.control.jobs.output import kept_text

_LONGEST_BACKOFF_S = 86_400
_LARGEST = 2**31 - 1
_MOST_REASON, _MOST_NAME, _MOST_DETAILS = 2000, 255, 16_384
_WORTH_A_TRY = frozenset({JobStatus.FAILED, JobStatus.TIMED_OUT})
_NEED_A_BEGINNING = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT})


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What is the same for all parts of a job; the rest of a job's order is nothing to a part."""

    timeout_s: float
    wait_s: float
    grace_s: float = 0.0
    attempts: int = 1
    backoff_s: float = 60.0
    ends_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One job on one device."""

    status: JobStatus = JobStatus.QUEUED
    attempt: int = 1
    available_at: datetime
    deadline: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    executed_steps: int = 0
    failed_step: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    said: JobStatus | None = None
    is_numbered: bool = False
    notify_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A report as it came; None and empty where it says nothing."""

    status: JobStatus
    attempt: int | None = None
    reason: str = ""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    executed_steps: int = 0
    failed_step: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_report(message: object, *, most_output: int) -> Heard:
    """Read a report; keys that are not known are passed over. Raises ReportInvalid."""
    faults: list[Fault] = []
    given = Fields(message, "", faults)
    details = given.take("status_details", _details, {}, "statusDetails")
    number = details.get("execution_number")
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _LARGEST
    report = Heard(
        status=given.need("status", choice(JobStatus), JobStatus.QUEUED),
        attempt=number if is_number else None,
        reason=kept_text(given.take("reason", _text, ""), _MOST_REASON),
        exit_code=given.take("exit_code", whole(-_LARGEST, _LARGEST), None, "exitCode"),
        stdout=kept_text(given.take("stdout", _text, ""), most_output),
        stderr=kept_text(given.take("stderr", _text, ""), most_output),
        executed_steps=given.take("executed_steps", _steps, 0, "executedSteps"),
        failed_step=kept_text(given.take("failed_step", _text, "", "failedStep"), _MOST_NAME),
        details=details,
    )
    if faults:
        raise ReportInvalid("; ".join(str(fault) for fault in faults))
    return report


def heard(part: Part, report: Heard, now: datetime, terms: Terms) -> Part:
    """Return the part after a report; the same one when nothing changes. Raises ReportInvalid, ReportOutOfTurn."""
    if report.attempt is not None:
        if report.attempt > part.attempt:
            raise ReportInvalid(f"there is no try {report.attempt} of this job", newest=part.attempt)
        if report.attempt < part.attempt:
            return part
    if part.status.is_final:
        return _said_late(part, report)
    if report.status is JobStatus.QUEUED:
        return part
    if report.status is JobStatus.IN_PROGRESS:
        return _progressed(part, report, now, terms)
    may_be_old = part.attempt > 1 and part.status is JobStatus.QUEUED and report.attempt is None
    if may_be_old and report.status in _NEED_A_BEGINNING:
        raise ReportOutOfTurn(
            hint="tell IN_PROGRESS first, or give status_details.execution_number", attempt=part.attempt
        )
    told = replace(_with_output(part, report), said=report.status)
    return _ended(told, report.status, report.reason, now, terms)


def late(part: Part, now: datetime, terms: Terms) -> Part:
    """Return the part once its deadline is over; the same one before."""
    if part.status.is_final or now < part.deadline:
        return part
    if part.status is JobStatus.QUEUED:
        return _over(part, JobStatus.TIMED_OUT, "the device did not begin in time", now)
    return _ended(part, JobStatus.TIMED_OUT, "the device did not tell an end in time", now, terms)


def cancelled(part: Part, now: datetime, reason: str) -> Part:
    """Return the part after it was cancelled here; the device is told, since it may have the job already."""
    if part.status.is_final:
        return part
    return replace(_over(part, JobStatus.CANCELED, reason, now), said=None, notify_at=now)


def _progressed(part: Part, report: Heard, now: datetime, terms: Terms) -> Part:
    after = replace(
        _with_output(part, report),
        status=JobStatus.IN_PROGRESS,
        executed_steps=max(report.executed_steps, part.executed_steps),
        notify_at=None,
        said=None,
    )
    if part.status is JobStatus.IN_PROGRESS:
        return after
    ends_at = now + timedelta(seconds=terms.timeout_s + terms.grace_s)
    return replace(
        after, started_at=now, deadline=_within(ends_at, terms), executed_steps=report.executed_steps
    )


def _said_late(part: Part, report: Heard) -> Part:
    if part.said is not None or not report.status.is_final:
        return part
    return replace(
        part,
        said=report.status,
        stdout=part.stdout or report.stdout,
        stderr=part.stderr or report.stderr,
        exit_code=report.exit_code if part.exit_code is None else part.exit_code,
        is_numbered=part.is_numbered or report.attempt is not None,
    )


def _with_output(part: Part, report: Heard) -> Part:
    return replace(
        part,
        reason=report.reason or part.reason,
        exit_code=report.exit_code,
        stdout=report.stdout or part.stdout,
        stderr=report.stderr or part.stderr,
        executed_steps=report.executed_steps,
        failed_step=report.failed_step,
        details=report.details or part.details,
        is_numbered=part.is_numbered or report.attempt is not None,
    )


def _ended(part: Part, status: JobStatus, reason: str, now: datetime, terms: Terms) -> Part:
    """End a try: there is another one, or the part is over."""
    is_out_of_time = terms.ends_at is not None and now >= terms.ends_at
    if status not in _WORTH_A_TRY or part.attempt >= terms.attempts or is_out_of_time:
        return _over(part, status, reason, now)
    pause_s = min(terms.backoff_s * 2 ** (part.attempt - 1), _LONGEST_BACKOFF_S)
    available_at = now + timedelta(seconds=pause_s)
    what = f"try {part.attempt} of {terms.attempts}: {status.value}"
    return replace(
        part,
        status=JobStatus.QUEUED,
        attempt=part.attempt + 1,
        reason=f"{what}, {reason}" if reason else what,
        available_at=available_at,
        deadline=_within(available_at + timedelta(seconds=terms.wait_s), terms),
        started_at=None,
        said=None,
        notify_at=available_at,
    )


def _over(part: Part, status: JobStatus, reason: str, now: datetime) -> Part:
    return replace(part, status=status, reason=reason, finished_at=now, notify_at=None)


def _within(at: datetime, terms: Terms) -> datetime:
    return at if terms.ends_at is None else min(at, terms.ends_at)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is to be a text, not {shown(value)}")  # noqa: TRY004  one kind of fault
    return value


def _steps(value: object) -> int:
    """Read how many steps were executed; earlier agents may list them."""
    if isinstance(value, list):
        return len(cast("list[object]", value))
    return whole(0, _LARGEST)(value)


def _details(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"is to be an object, not {shown(value)}")  # noqa: TRY004  one kind of fault
    try:
        plain = (
            json.dumps(value, allow_nan=False, ensure_ascii=False)
            .replace("\\u0000", "")
            .encode("utf-8", "replace")
        )
    except (ValueError, TypeError, RecursionError) as exc:
        raise ValueError("cannot be written as JSON") from exc
    if len(plain) > _MOST_DETAILS:
        number = cast("dict[str, Any]", value).get("execution_number")
        return {"note": f"{len(plain)} bytes were left out", "execution_number": number}
    return json.loads(plain)
