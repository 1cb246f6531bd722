"""Cron expressions: the next moment, and what is not one."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.cron import parse_cron


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "now", "expected"),
    [
        ("* * * * *", "2026-03-01T10:00:00", "2026-03-01T10:01"),
        ("* * * * *", "2026-03-01T10:00:59", "2026-03-01T10:01"),
        ("30 4 * * *", "2026-03-01T04:30:00", "2026-03-02T04:30"),
        ("30 4 * * *", "2026-12-31T04:30:01", "2027-01-01T04:30"),
        ("*/15 * * * *", "2026-03-01T10:46:00", "2026-03-01T11:00"),
        ("5/20 * * * *", "2026-03-01T10:46:00", "2026-03-01T11:05"),
        ("0 9-17/4 * * *", "2026-03-01T13:00:00", "2026-03-01T17:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00"),
        ("0 0 29 2 *", "2097-03-01T00:00:00", "2104-02-29T00:00"),
        ("0 0 31 * *", "2026-04-01T00:00:00", "2026-05-31T00:00"),
        ("0 6 * * 1-5", "2026-03-06T07:00:00", "2026-03-09T06:00"),
        ("0 6 * * 0", "2026-03-02T07:00:00", "2026-03-08T06:00"),
        ("0 6 * * 7", "2026-03-02T07:00:00", "2026-03-08T06:00"),
        ("0 6 13 * 5", "2026-03-07T07:00:00", "2026-03-13T06:00"),
        ("0 6 14 * 5", "2026-03-13T07:00:00", "2026-03-14T06:00"),
        ("0,30 6,18 * 1,7 *", "2026-01-31T18:30:00", "2026-07-01T06:00"),
    ],
)
def test_the_next_moment(expression, now, expected):
    assert parse_cron(expression).next_after(at(now)) == at(expected)


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *",
     "-1 * * * *", "5-1 * * * *", "*/0 * * * *", "1,,2 * * * *", "² * * * *", "* * * JAN *", "@daily",
     "0 0 30 2 *", "*" * 300, None, 5, ["* * * * *"]],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(ValueError, match=r"cron expression|has a "):
        parse_cron(expression)


@given(st.integers(0, 4_000_000_000), st.integers(1, 59), st.integers(0, 23))
def test_the_next_moment_is_later_whole_and_as_wanted(now, minute, hour):
    found = datetime.fromtimestamp(parse_cron(f"{minute} {hour} * * *").next_after(now), UTC)

    assert 0 < found.timestamp() - now <= 86_400
    assert (found.hour, found.minute, found.second) == (hour, minute, 0)
