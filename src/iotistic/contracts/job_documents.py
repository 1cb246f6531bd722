"""Job documents v1.0, read strictly: everything is understood, or refused by its path.

    {"version": "1.0", "steps": [{"name": "greet", "type": "runCommand", "input": {"command": "echo,hello"}}]}

`timeoutSeconds` of a step is our addition. Schedules are read in the document's spelling (`intervalMinutes`)
and in the API's (`interval_minutes`).
"""

from enum import StrEnum
from typing import NamedTuple

from iotistic.contracts.cron import parse_cron
from iotistic.contracts.jobs import (
    Condition,
    ConditionKind,
    ExecutionKind,
    JobDocument,
    JobStep,
    Schedule,
    StepKind,
)
from iotistic.contracts.reading import Fault, Fields, choice, moment, shown, text, truth, whole

_MOST_STEPS = 100
_MOST_WORD = 32_768
_MOST_MINUTES = 60 * 24 * 366
_DAY_S = 86_400
_MOST_LINES = 1_000_000
_NAME = text(128, least=1)


class ScheduleKind(StrEnum):
    """What a schedule says that it is."""

    CRON = "cron"
    INTERVAL = "interval"


class JobReading(NamedTuple):
    """A document, and everything that is wrong with what it was read from; it is to be used only without."""

    document: JobDocument
    faults: list[Fault]


def read_job_document(value: object) -> JobReading:
    """Read a document. Nothing is raised: what is wrong stands in the faults."""
    faults: list[Fault] = []
    given = Fields(value, "", faults)
    given.need("version", _version, "")
    steps = given.entries("steps")
    if not 1 <= len(steps) <= _MOST_STEPS:
        given.fault("steps", f"are to be 1 to {_MOST_STEPS}, not {len(steps)}")
    final = given.raw("finalStep")
    document = JobDocument(
        steps=tuple(
            _read_step(Fields(step, f"steps[{index}]", faults))
            for index, step in enumerate(steps[:_MOST_STEPS])
        ),
        final_step=None if final is None else _read_step(Fields(final, "finalStep", faults)),
        conditions=tuple(
            _read_condition(Fields(condition, f"conditions[{index}]", faults))
            for index, condition in enumerate(given.entries("conditions"))
        ),
        include_stdout=given.take("includeStdOut", truth, default=False),
        execution=given.take("executionType", choice(ExecutionKind), ExecutionKind.ONE_TIME),
        schedule=_read_schedule(given),
        max_executions=given.take("maxExecutions", whole(1, 1_000_000), None),
        max_duration_s=_seconds(given.take("maxDurationMinutes", whole(1, _MOST_MINUTES), None)),
        report_progress=given.take("reportProgress", truth, default=False),
    )
    given.refuse_others()
    _refuse_twice(document, given)
    _refuse_contradictions(document, given)
    return JobReading(document, faults)


def split_words(command: object) -> tuple[str, ...]:
    r"""Read a command: words between commas, without the blanks around them. Raises ValueError.

    `\,` is a comma within a word, `\\` a backslash; any other backslash is itself.
    """
    words, word, escaped = list[str](), "", False
    for character in text(_MOST_WORD)(command):
        if escaped:
            word += character if character in ",\\" else f"\\{character}"
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            words.append(word.strip())
            word = ""
        else:
            word += character
    words.append((word + "\\" * escaped).strip())
    if not words[0]:
        raise ValueError("is to begin with the program that is run")
    return tuple(words)


def _version(value: object) -> str:
    if isinstance(value, bool) or value not in ("1.0", 1.0):
        raise ValueError(f"is to be 1.0, not {shown(value)}")
    return "1.0"


def _read_step(given: Fields) -> JobStep:
    kind = given.need("type", choice(StepKind), StepKind.RUN_COMMAND)
    said = given.raw("input")
    if said is None:
        given.fault("input", "is missing")
        said = {"command": "-"}
        kind = StepKind.RUN_COMMAND
    details = Fields(said, given.at("input"), given.faults)
    words, folder = _read_handler(details) if kind is StepKind.RUN_HANDLER else _read_command(details)
    details.refuse_others()
    step = JobStep(
        name=given.need("name", _NAME, ""),
        kind=kind,
        words=words,
        folder=folder,
        run_as_user=given.take("runAsUser", text(64), ""),
        stderr_lines=given.take("allowStdErr", _lines, None),
        ignore_failure=given.take("ignoreStepFailure", truth, default=False),
        timeout_s=given.take("timeoutSeconds", whole(1, _DAY_S), None),
    )
    given.refuse_others()
    return step


def _read_command(details: Fields) -> tuple[tuple[str, ...], str]:
    return details.need("command", split_words, ()), ""


def _read_handler(details: Fields) -> tuple[tuple[str, ...], str]:
    handler = details.need("handler", text(255, least=1), "")
    folder = details.take("path", text(1024), "")
    return (handler, *details.each("args", text(_MOST_WORD))), "" if folder == "default" else folder


def _lines(value: object) -> int | None:
    if isinstance(value, bool):
        return None if value else 0
    return whole(0, _MOST_LINES)(value)


def _read_condition(given: Fields) -> Condition:
    key = given.need("key", _NAME, "")
    values = given.each("value", text(1024))
    if not values:
        given.fault("value", "is to be a list with at least one text")
    kind = given.take("type", choice(ConditionKind), ConditionKind.STRING_EQUAL)
    given.refuse_others()
    return Condition(key, values, kind)


def _read_schedule(document: Fields) -> Schedule:
    value = document.raw("schedule")
    if value is None:
        return Schedule()
    if isinstance(value, str):
        return Schedule(cron=document.take("schedule", parse_cron, None))
    given = Fields(value, "schedule", document.faults)
    kind = given.take("scheduleType", choice(ScheduleKind), None, "schedule_type")
    schedule = Schedule(
        given.take("scheduledAt", moment, None, "scheduled_at"),
        _seconds(given.take("intervalMinutes", whole(1, _MOST_MINUTES), None, "interval_minutes")),
        given.take("cronExpression", parse_cron, None, "cron_expression"),
    )
    given.refuse_others()
    if schedule.cron is not None and schedule.interval_s is not None:
        given.fault("cronExpression", "cannot stand beside intervalMinutes")
    if kind is ScheduleKind.CRON and schedule.interval_s is not None:
        given.fault("scheduleType", "is cron, but there is an interval")
    if kind is ScheduleKind.INTERVAL and schedule.cron is not None:
        given.fault("scheduleType", "is interval, but there is a cron expression")
    return schedule


def _seconds(minutes: int | None) -> float | None:
    return None if minutes is None else minutes * 60.0


def _refuse_twice(document: JobDocument, given: Fields) -> None:
    steps = (*document.steps, *((document.final_step,) if document.final_step else ()))
    names = [step.name for step in steps]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        given.fault("steps", f"the name {shown(name)} stands there twice")


def _refuse_contradictions(document: JobDocument, given: Fields) -> None:
    schedule, kind = document.schedule, document.execution
    recurs = schedule.cron is not None or schedule.interval_s is not None
    if kind is ExecutionKind.RECURRING and not recurs and not given.faults:
        given.fault("schedule", "is to have intervalMinutes or cronExpression: executionType is recurring")
    if kind is ExecutionKind.ONE_TIME and recurs:
        given.fault("schedule", "recurs, but executionType is oneTime")
    if kind is ExecutionKind.ONE_TIME and document.max_executions not in (None, 1):
        given.fault("maxExecutions", "is more than one, but executionType is oneTime")
    if kind is ExecutionKind.CONTINUOUS and schedule.cron is not None:
        given.fault("schedule", "has a cron expression, but executionType is continuous")
