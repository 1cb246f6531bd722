"""Job documents: what is understood, and that whatever is not is refused by its path."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.job_documents import read_job_document, split_words
from iotistic.contracts.jobs import Condition, ConditionKind, ExecutionKind, JobStep, StepKind

ECHO = {"name": "greet", "type": "runCommand", "input": {"command": "echo,hello"}}
HANDLER = {
    "name": "handle",
    "type": "runHandler",
    "input": {"handler": "update.sh", "args": ["-f"], "path": "tools"},
}


def document(**changes):
    whole = {"version": "1.0", "steps": [copy.deepcopy(ECHO)], **changes}
    return {name: value for name, value in whole.items() if value is not None}


def step(**changes):
    whole = {**copy.deepcopy(ECHO), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def faults(value):
    return [str(fault) for fault in read_job_document(value).faults]


def test_a_small_document_is_read_with_its_defaults():
    read, found = read_job_document(document())

    assert found == []
    assert read.steps == (JobStep("greet", StepKind.RUN_COMMAND, ("echo", "hello")),)
    assert (read.final_step, read.conditions, read.include_stdout, read.report_progress) == (
        None,
        (),
        False,
        False,
    )
    assert (read.execution, read.max_executions, read.max_duration_s) == (ExecutionKind.ONE_TIME, None, None)


def test_every_field_is_read():
    read, found = read_job_document(
        document(
            includeStdOut=True,
            conditions=[
                {"key": "operatingSystem", "value": ["debian", "ubuntu"], "type": "stringEqual"},
                {"key": "architecture", "value": ["armv6l"], "type": "stringNotEqual"},
            ],
            steps=[
                {
                    **HANDLER,
                    "runAsUser": "nobody",
                    "allowStdErr": 3,
                    "ignoreStepFailure": True,
                    "timeoutSeconds": 9,
                }
            ],
            finalStep=ECHO,
            executionType="recurring",
            schedule={
                "scheduledAt": "2026-05-17T10:00:00Z",
                "intervalMinutes": 5,
                "scheduleType": "interval",
            },
            maxExecutions=4,
            maxDurationMinutes=2,
            reportProgress=True,
        )
    )

    assert found == []
    assert read.steps[0] == JobStep(
        "handle",
        StepKind.RUN_HANDLER,
        ("update.sh", "-f"),
        "tools",
        "nobody",
        3,
        ignore_failure=True,
        timeout_s=9,
    )
    assert read.conditions == (
        Condition("operatingSystem", ("debian", "ubuntu")),
        Condition("architecture", ("armv6l",), ConditionKind.STRING_NOT_EQUAL),
    )
    assert (read.schedule.not_before, read.schedule.interval_s) == (1779012000.0, 300)
    assert (read.max_executions, read.max_duration_s, read.report_progress) == (4, 120, True)
    assert read.final_step is not None


@pytest.mark.parametrize(
    ("schedule", "moment"),
    [
        ({"intervalMinutes": 5}, 1000 + 300),
        ({"interval_minutes": 5, "schedule_type": "interval"}, 1000 + 300),
        ({"cronExpression": "*/5 * * * *"}, 1200),
        ({"cron_expression": "*/5 * * * *", "scheduleType": "cron"}, 1200),
        ("*/5 * * * *", 1200),
    ],
)
def test_schedules_are_read_in_each_spelling(schedule, moment):
    read, found = read_job_document(document(executionType="recurring", schedule=schedule))
    assert found == []
    assert read.schedule.next_after(1000) == moment


@pytest.mark.parametrize(("allowed", "lines"), [(None, None), (True, None), (False, 0), (0, 0), (7, 7)])
def test_standard_error_is_a_fault_only_where_it_was_said(allowed, lines):
    read, found = read_job_document(document(steps=[step(allowStdErr=allowed)]))
    assert found == []
    assert read.steps[0].stderr_lines == lines


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls", ("ls",)),
        ("ls, -l ,/tmp", ("ls", "-l", "/tmp")),
        (r"echo,a\,b", ("echo", "a,b")),
        (r"echo,a\\,b", ("echo", "a\\", "b")),
        (r"grep,a\.b", ("grep", r"a\.b")),
        (r"echo,end" + "\\", ("echo", "end\\")),
        ("echo,,x", ("echo", "", "x")),
        ("echo,$HOME;rm -rf /", ("echo", "$HOME;rm -rf /")),
        ("echo,a\nb", ("echo", "a\nb")),
    ],
)
def test_a_command_is_words_between_commas_and_no_shell(command, words):
    assert split_words(command) == words


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "is to be an object, not None"),
        ([], "is to be an object, not []"),
        ({}, "version: is missing"),
        (document(version=None), "version: is missing"),
        (document(version="2.0"), "version: is to be 1.0, not '2.0'"),
        (document(version=True), "version: is to be 1.0, not True"),
        (document(steps=[]), "steps: are to be 1 to 100, not 0"),
        (document(steps="echo"), "steps: is to be a list, not 'echo'"),
        (document(steps=[ECHO] * 101), "steps: are to be 1 to 100, not 101"),
        (document(steps=[5]), "steps[0]: is to be an object, not 5"),
        (document(steps=[ECHO, ECHO]), "steps: the name 'greet' stands there twice"),
        (document(finalStep=ECHO), "steps: the name 'greet' stands there twice"),
        (document(finalStep=step(name="f", type="no")), "finalStep.type: is to be one of runHandler, runCommand, not 'no'"),
        (document(steps=[step(name=None)]), "steps[0].name: is missing"),
        (document(steps=[step(name="")]), "steps[0].name: is to have 1 to 128 characters, not 0"),
        (document(steps=[step(name="a\0b")]), "steps[0].name: is to be a text, not 'a\\x00b'"),
        (document(steps=[step(type=None)]), "steps[0].type: is missing"),
        (document(steps=[step(type=["runCommand"])]), "steps[0].type: is to be one of runHandler, runCommand, not ['runCommand']"),
        (document(steps=[step(input=None)]), "steps[0].input: is missing"),
        (document(steps=[step(input="ls")]), "steps[0].input: is to be an object, not 'ls'"),
        (document(steps=[step(input={})]), "steps[0].input.command: is missing"),
        (document(steps=[step(input={"command": ["ls"]})]), "steps[0].input.command: is to be a text, not ['ls']"),
        (document(steps=[step(input={"command": ""})]), "steps[0].input.command: is to begin with the program that is run"),
        (document(steps=[step(input={"command": " ,x"})]), "steps[0].input.command: is to begin with the program that is run"),
        (document(steps=[step(input={"command": "a\0"})]), "steps[0].input.command: is to be a text, not 'a\\x00'"),
        (document(steps=[step(input={"command": "ls", "handler": "x"})]), "steps[0].input.handler: is not a key that is known here"),
        (document(steps=[{**HANDLER, "input": {}}]), "steps[0].input.handler: is missing"),
        (document(steps=[{**HANDLER, "input": {"handler": "x", "args": "-f"}}]), "steps[0].input.args: is to be a list, not '-f'"),
        (document(steps=[{**HANDLER, "input": {"handler": "x", "args": ["a", 5]}}]), "steps[0].input.args[1]: is to be a text, not 5"),
        (document(steps=[{**HANDLER, "input": {"handler": "x", "command": "y"}}]), "steps[0].input.command: is not a key that is known here"),
        (document(steps=[step(runAsUser=0)]), "steps[0].runAsUser: is to be a text, not 0"),
        (document(steps=[step(allowStdErr=-1)]), "steps[0].allowStdErr: is to be a whole number from 0 to 1000000, not -1"),
        (document(steps=[step(allowStdErr="yes")]), "steps[0].allowStdErr: is to be a whole number from 0 to 1000000, not 'yes'"),
        (document(steps=[step(ignoreStepFailure=1)]), "steps[0].ignoreStepFailure: is to be true or false, not 1"),
        (document(steps=[step(timeoutSeconds=0)]), "steps[0].timeoutSeconds: is to be a whole number from 1 to 86400, not 0"),
        (document(steps=[step(shell=True)]), "steps[0].shell: is not a key that is known here"),
        (document(includeStdOut="yes"), "includeStdOut: is to be true or false, not 'yes'"),
        (document(conditions={}), "conditions: is to be a list, not {}"),
        (document(conditions=[{}]), "conditions[0].key: is missing"),
        (document(conditions=[{"key": "a"}]), "conditions[0].value: is to be a list with at least one text"),
        (document(conditions=[{"key": "a", "value": [1]}]), "conditions[0].value[0]: is to be a text, not 1"),
        (document(conditions=[{"key": "a", "value": ["x"], "type": "regex"}]), "conditions[0].type: is to be one of stringEqual, stringNotEqual, not 'regex'"),
        (document(executionType="twice"), "executionType: is to be one of oneTime, recurring, continuous, not 'twice'"),
        (document(executionType="recurring"), "schedule: is to have intervalMinutes or cronExpression: executionType is recurring"),
        (document(schedule={"intervalMinutes": 5}), "schedule: recurs, but executionType is oneTime"),
        (document(schedule={"intervalMinutes": 0}), "schedule.intervalMinutes: is to be a whole number from 1 to 527040, not 0"),
        (document(schedule={"scheduledAt": "tomorrow"}), "schedule.scheduledAt: is to be a time with zone as 2026-05-17T10:00:00Z, not 'tomorrow'"),
        (document(schedule={"scheduledAt": "2026-05-17T10:00:00"}), "schedule.scheduledAt: is to be a time with zone as 2026-05-17T10:00:00Z, not '2026-05-17T10:00:00'"),
        (document(schedule={"scheduledAt": 5}), "schedule.scheduledAt: is to be a time with zone as 2026-05-17T10:00:00Z, not 5"),
        (document(schedule={"every": 5}), "schedule.every: is not a key that is known here"),
        (document(schedule=5), "schedule: is to be an object, not 5"),
        (document(schedule="daily"), "schedule: is to be a cron expression of five fields: minute, hour, day, month, day of week"),
        (document(executionType="recurring", schedule={"cronExpression": "* * * * *", "intervalMinutes": 1}), "schedule.cronExpression: cannot stand beside intervalMinutes"),
        (document(executionType="recurring", schedule={"scheduleType": "cron", "intervalMinutes": 1}), "schedule.scheduleType: is cron, but there is an interval"),
        (document(executionType="recurring", schedule={"scheduleType": "interval", "cronExpression": "* * * * *"}), "schedule.scheduleType: is interval, but there is a cron expression"),
        (document(executionType="continuous", schedule="* * * * *"), "schedule: has a cron expression, but executionType is continuous"),
        (document(maxExecutions=0), "maxExecutions: is to be a whole number from 1 to 1000000, not 0"),
        (document(maxExecutions=2), "maxExecutions: is more than one, but executionType is oneTime"),
        (document(maxDurationMinutes=1.5), "maxDurationMinutes: is to be a whole number from 1 to 527040, not 1.5"),
        (document(reportProgress=None, priority=1), "priority: is not a key that is known here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(value, fault):
    assert fault in faults(value)


def test_all_faults_are_told_at_once():
    wrong = document(version="9", steps=[step(name=5, input={})], maxDurationMinutes="x", whatever=1)
    assert [fault.path for fault in read_job_document(wrong).faults] == [
        "version",
        "steps[0].input.command",
        "steps[0].name",
        "maxDurationMinutes",
        "whatever",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PATHS = (
    ("version",), ("steps",), ("steps", 0), ("steps", 0, "name"), ("steps", 0, "type"), ("steps", 0, "input"),
    ("steps", 0, "input", "command"), ("steps", 0, "allowStdErr"), ("conditions",), ("schedule",), ("finalStep",),
    ("executionType",), ("maxExecutions",), ("steps", 1, "input", "args"), ("steps", 1, "input", "path"),
)  # fmt: skip


@given(JSON, st.sampled_from(PATHS))
def test_garbage_anywhere_is_faults_and_never_an_exception(garbage, path):
    value = document(steps=[copy.deepcopy(ECHO), copy.deepcopy(HANDLER)])
    place = value
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = garbage
    read, found = read_job_document(value)
    assert found or read.steps
