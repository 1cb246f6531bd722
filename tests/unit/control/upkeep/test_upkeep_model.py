"""Moments and retries of background work, without a database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.control.jobs.model import ScheduleInvalid
from iotistic.control.upkeep.model import End, Outcome, Standing, mended, next_due, retry_after

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def standing(next_due_at, last_due_at=None, schedule="0 * * * *"):
    return Standing(
        name="sweep", summary="", schedule=schedule, deadline_s=1, is_enabled=True, next_due_at=next_due_at,
        last_due_at=last_due_at, retry_at=None, tries=0, seen_at=NOON,
    )  # fmt: skip


@given(
    TIMES, st.sampled_from(["0 * * * *", "0 3 * * *", "30 4 1 * *", "0 4 * * 0", "every 60 s", "every 7 s"])
)
def test_the_next_moment_lies_ahead_and_none_lies_between(now, schedule):
    due_at = next_due(schedule, now)

    assert due_at > now
    assert next_due(schedule, due_at - timedelta(microseconds=1)) == due_at


@given(TIMES, TIMES, TIMES)
def test_after_mending_a_task_is_due_by_its_next_moment_but_for_a_small_skew(now, due_at, last_due_at):
    found = mended(standing(due_at, last_due_at), now) or due_at

    assert found <= max(next_due("0 * * * *", now), now + timedelta(hours=2))


def test_what_is_due_or_overdue_is_left_alone():
    assert mended(standing(NOON), NOON) is None
    assert mended(standing(NOON - timedelta(days=9)), NOON) is None
    assert mended(standing(NOON + timedelta(hours=1)), NOON) is None


def test_moments_keep_utc_when_clocks_on_walls_change():
    spring = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)

    assert next_due("0 3 * * *", spring) == datetime(2026, 3, 29, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "tries", "after"),
    [
        (Outcome.STOPPED, 9, timedelta()),
        (Outcome.LOST, 1, timedelta()),
        (Outcome.LOST, 2, timedelta()),
        (Outcome.FAILED, 1, timedelta(minutes=1)),
        (Outcome.LATE, 2, timedelta(minutes=10)),
    ],
)
def test_what_did_not_succeed_is_tried_again(outcome, tries, after):
    assert retry_after(outcome, tries, NOON) == NOON + after


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.FAILED, Outcome.LATE])
def test_after_three_tries_it_waits_for_its_moment(outcome):
    assert retry_after(outcome, 3, NOON) is None


@given(st.text(), st.text(max_size=20))
def test_errors_and_outputs_of_any_text_fit_their_columns(text, key):
    failed = End.failed(ValueError(text * 500))
    output = End(outcome=Outcome.SUCCEEDED, output={key: text * 500}).shown_output

    assert len(failed.error) <= 2000
    assert len(output) <= 16384
    assert "\0" not in failed.error + output
    assert (failed.error + output).encode()


@pytest.mark.parametrize(
    "schedule", ["", "0 3 * *", "every 60", "every -1 s", "99 * * * *", "\0", "0 3 * * *" * 90]
)
def test_schedules_that_cannot_be_read_are_refused(schedule):
    with pytest.raises(ScheduleInvalid):
        next_due(schedule, NOON)
