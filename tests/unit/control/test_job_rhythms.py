"""When schedules are due: time zones, clocks that change, moments that passed; and what documents say of it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from iotistic.contracts.jobs import ExecutionKind
from iotistic.control.jobs.documents import handlers_in, read_document, with_arguments
from iotistic.control.jobs.model import DocumentInvalid, ScheduleInvalid, Summary
from iotistic.control.jobs.output import kept_text
from iotistic.control.jobs.paging import CursorInvalid, read_cursor, write_cursor
from iotistic.control.jobs.schedules import Rhythm, checked

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = {"name": "run", "type": "runHandler", "input": {"handler": "clean.sh"}}


def moments(rhythm, after, count):
    found = []
    for _ in range(count):
        after = rhythm.next_after(after)
        found.append(after.strftime("%d %H:%M"))
    return found


def vienna(expression):
    return Rhythm(begins_at=BEGIN, cron_expression=expression, time_zone="Europe/Vienna")


def test_a_moment_that_the_clock_skips_comes_right_after_the_gap():
    found = moments(vienna("30 2 * * *"), datetime(2026, 3, 27, 12, tzinfo=UTC), 3)

    assert found == ["28 01:30", "29 01:00", "30 00:30"]


def test_a_moment_that_the_clock_shows_twice_comes_once():
    found = moments(vienna("30 2 * * *"), datetime(2026, 10, 23, 12, tzinfo=UTC), 3)

    assert found == ["24 00:30", "25 00:30", "26 01:30"]


def test_what_comes_by_the_hour_goes_by_real_time_when_clocks_change():
    found = moments(vienna("15 * * * *"), datetime(2026, 10, 24, 23, 30, tzinfo=UTC), 4)

    assert found == ["25 00:15", "25 01:15", "25 02:15", "25 03:15"]


def test_intervals_are_counted_from_the_beginning_and_do_not_drift():
    rhythm = Rhythm(begins_at=BEGIN, interval_s=420)

    assert rhythm.next_after(BEGIN - timedelta(days=1)) == BEGIN
    assert rhythm.next_after(BEGIN) == BEGIN + timedelta(seconds=420)
    assert rhythm.next_after(BEGIN + timedelta(seconds=1000)) == BEGIN + timedelta(seconds=1260)


@pytest.mark.parametrize(
    "rhythm", [Rhythm(begins_at=BEGIN, interval_s=60), Rhythm(begins_at=BEGIN, cron_expression="* * * * *")]
)
@pytest.mark.parametrize("minutes", [0, 1, 59, 1500])
def test_of_moments_that_passed_the_newest_is_due(rhythm, minutes):
    newest, _ = rhythm.due(BEGIN, BEGIN + timedelta(minutes=minutes, seconds=30))

    assert newest == BEGIN + timedelta(minutes=minutes)


def test_no_moment_is_before_the_beginning_or_after_the_end():
    end = BEGIN + timedelta(minutes=25)
    cron = Rhythm(begins_at=BEGIN, cron_expression="*/10 * * * *", ends_at=end)
    steady = Rhythm(begins_at=BEGIN, interval_s=600, ends_at=end)
    late = BEGIN + timedelta(days=9)

    assert cron.next_after(BEGIN - timedelta(days=1)) == BEGIN
    assert [one.due(BEGIN, late) for one in (cron, steady)] == [(BEGIN + timedelta(minutes=20), 2)] * 2
    assert cron.next_after(end) is None


@pytest.mark.parametrize(
    "zone", ["Europe/Nowhere", "", "../UTC", "/etc/localtime", "Europe", "a\0b", "x" * 300]
)
def test_a_time_zone_that_is_none_is_refused(zone):
    with pytest.raises(ScheduleInvalid):
        checked(Rhythm(begins_at=BEGIN, cron_expression="* * * * *", time_zone=zone), BEGIN)


@pytest.mark.parametrize(
    "expression", ["", "@reboot", "* * * *", "* * * * * *", "60 * * * *", "a b c d e", "* " * 200]
)
def test_a_cron_expression_that_is_none_is_refused(expression):
    with pytest.raises(ScheduleInvalid):
        checked(Rhythm(begins_at=BEGIN, cron_expression=expression), BEGIN)


def test_a_document_is_sent_without_what_the_cloud_does_itself():
    asked = {
        "version": "1.0",
        "steps": [STEP],
        "executionType": "recurring",
        "schedule": {"intervalMinutes": 5, "scheduledAt": "2026-05-17T10:00:00Z"},
        "maxExecutions": 3,
    }
    read = read_document(asked)

    assert read.document == {"version": "1.0", "steps": [STEP]}
    assert (read.execution, read.interval_s, read.max_executions) == (ExecutionKind.RECURRING, 300, 3)
    assert read.starts_at == datetime(2026, 5, 17, 10, tzinfo=UTC)


def test_default_arguments_are_for_steps_without_any():
    own = {"name": "own", "type": "runHandler", "input": {"handler": "clean.sh", "args": ["x"]}}
    command = {"name": "command", "type": "runCommand", "input": {"command": "true"}}
    document = {"version": "1.0", "steps": [STEP, own, command]}
    filled = with_arguments(document, {"clean.sh": ["--all"]})

    assert handlers_in(document) == {"clean.sh"}
    assert [step["input"].get("args") for step in filled["steps"]] == [["--all"], ["x"], None]
    assert "finalStep" not in filled


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("document", [None, [], {}, {"version": "1.0", "steps": [float("nan")]}, nested(31)])
def test_what_agents_would_not_read_is_not_sent(document):
    with pytest.raises(DocumentInvalid):
        read_document(document)


def test_a_job_comes_to_the_worst_of_its_parts():
    assert Summary(succeeded=3).outcome() == "SUCCEEDED"
    assert Summary(succeeded=3, canceled=1).outcome() == "CANCELED"
    assert Summary(rejected=1, canceled=1).outcome() == "REJECTED"
    assert Summary(timed_out=1, rejected=1).outcome() == "TIMED_OUT"
    assert Summary(failed=1, timed_out=5).outcome() == "FAILED"


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_a_text_that_is_cut_says_so(most):
    kept = kept_text("a" * 50 + "b" * 50, most)

    assert f"{100 - most} characters left out" in kept
    assert kept.startswith("a")
    assert kept_text("ab", 2) == "ab"


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "!" * 32, "/" * 32, "A" * 33, "é"])
def test_a_cursor_that_no_page_gave_is_refused(cursor):
    with pytest.raises(CursorInvalid):
        read_cursor(cursor)


def test_a_cursor_is_read_as_it_was_written():
    at = datetime(2026, 5, 17, 10, 0, 0, 123456, tzinfo=UTC)

    assert read_cursor(write_cursor(at, UUID(int=7))) == (at, UUID(int=7))
    assert read_cursor(None) is None
