"""What devices get of a job document.

When and how often a job runs is decided here, not on the device: `executionType`, `schedule` and `maxExecutions`
of a document are taken for what the order does not say itself, and devices get the document without them. One
that kept them would run again by itself each time that it is handed out again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from iotistic.contracts.job_documents import read_job_document
from iotistic.contracts.jobs import ExecutionKind, StepKind
from iotistic.control.jobs.model import DocumentInvalid

_MOST_BYTES, _DEEPEST = 250_000, 30
"""A little less than agents read: 262,144, nested 32 times."""
_MOST_FAULTS = 20
_OF_THE_ORDER = ("executionType", "schedule", "maxExecutions")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadDocument:
    """A document that can be understood, and what it says about when it is to run."""

    document: Mapping[str, Any]
    execution: ExecutionKind
    starts_at: datetime | None
    interval_s: int | None
    cron_expression: str | None
    max_executions: int | None


def read_document(document: object) -> ReadDocument:
    """Read a document as the agent will. Raises DocumentInvalid naming each fault by its path."""
    _check_size(document)
    read, faults = read_job_document(document)
    if faults:
        listed = "; ".join(str(fault) for fault in faults[:_MOST_FAULTS])
        named = {fault.path or "document": fault.reason for fault in faults[:_MOST_FAULTS]}
        raise DocumentInvalid(f"{len(faults)} fault(s): {listed}", faults=named)
    given, schedule = cast("dict[str, Any]", document), read.schedule
    starts = schedule.not_before
    return ReadDocument(
        document={name: value for name, value in given.items() if name not in _OF_THE_ORDER},
        execution=read.execution,
        starts_at=None if starts is None else datetime.fromtimestamp(starts, UTC),
        interval_s=None if schedule.interval_s is None else int(schedule.interval_s),
        cron_expression=None if schedule.cron is None else schedule.cron.expression,
        max_executions=read.max_executions,
    )


def handlers_in(document: Mapping[str, Any]) -> set[str]:
    """Return the names of the handlers that steps call without arguments of their own."""
    return {step["input"]["handler"] for step in _steps(document) if _lacks_arguments(step)}


def with_arguments(document: Mapping[str, Any], defaults: Mapping[str, list[str]]) -> Mapping[str, Any]:
    """Return a document whose steps have the default arguments of the handlers that they call without any."""

    def filled(step: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _lacks_arguments(step):
            return step
        arguments = defaults.get(step["input"]["handler"])
        return {**step, "input": {**step["input"], "args": arguments}} if arguments else step

    final = document.get("finalStep")
    changed = {**document, "steps": [filled(step) for step in document["steps"]]}
    return changed if final is None else {**changed, "finalStep": filled(final)}


def _steps(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    final = document.get("finalStep")
    return [*document["steps"], *([] if final is None else [final])]


def _lacks_arguments(step: Mapping[str, Any]) -> bool:
    return step["type"] == StepKind.RUN_HANDLER and not step["input"].get("args")


def _check_size(document: object) -> None:
    level = [document]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise DocumentInvalid(f"the document is nested more than {_DEEPEST} times")
    try:
        size = len(json.dumps(document, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError) as exc:
        raise DocumentInvalid("the document cannot be written as JSON") from exc
    if size > _MOST_BYTES:
        raise DocumentInvalid(f"the document has {size} bytes", limit=_MOST_BYTES)


def _inside(one: object) -> list[object]:
    if isinstance(one, dict):
        return list(cast("dict[object, object]", one).values())
    return cast("list[object]", one) if isinstance(one, list) else []
