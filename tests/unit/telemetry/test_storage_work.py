from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.storage.levels import RollupLevel, level_for
from iotistic.telemetry.storage.work import Mark, Span, arrange, day_of, month_of

MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return MIDNIGHT + minutes * MINUTE


def minutes_work(*marks: Mark):
    return arrange(marks, width=MINUTE, partition_of=day_of)


def test_neighbouring_minutes_become_one_stretch():
    (work,) = minutes_work(Mark(at(1), None), Mark(at(3), None), Mark(at(2), None), Mark(at(9), None))

    assert work.full == [Span(at(1), at(4)), Span(at(9), at(10))]


def test_a_stretch_ends_at_midnight_utc():
    earlier, later = minutes_work(Mark(at(-1), None), Mark(at(0), None))

    assert (earlier.full, later.full) == ([Span(at(-1), at(0))], [Span(at(0), at(1))])


def test_late_minutes_are_joined_by_device():
    (work,) = minutes_work(Mark(at(1), 7), Mark(at(2), 8), Mark(at(2), 7))

    assert work.devices == [(7, Span(at(1), at(3))), (8, Span(at(2), at(3)))]


def test_a_minute_that_is_rolled_for_all_is_not_rolled_for_one_again():
    (work,) = minutes_work(Mark(at(1), 7), Mark(at(1), None))

    assert (work.full, work.devices) == ([Span(at(1), at(2))], [])


def test_no_marks_are_no_work():
    assert minutes_work() == []


@given(
    st.lists(
        st.builds(
            Mark,
            st.integers(-3000, 3000).map(at),
            st.none() | st.integers(1, 4),
        )
    )
)
def test_every_marked_minute_is_covered_once_and_nothing_else(marks):
    covered: list[tuple[datetime, int | None]] = []
    for work in minutes_work(*marks):
        for device_id, span in [(None, span) for span in work.full] + list(work.devices):
            assert work.partition.start <= span.start < span.end <= work.partition.end
            covered += [
                (span.start + i * MINUTE, device_id) for i in range((span.end - span.start) // MINUTE)
            ]

    full = {mark.bucket for mark in marks if mark.device_id is None}
    expected = {(bucket, None) for bucket in full} | {
        (mark.bucket, mark.device_id) for mark in marks if mark.bucket not in full
    }
    assert len(covered) == len(set(covered))
    assert set(covered) == expected


@pytest.mark.parametrize(
    ("instant", "start", "end"),
    [
        ("2024-02-29T23:59:59.999999+00:00", "2024-02-01", "2024-03-01"),
        ("2026-12-31T23:59:59+00:00", "2026-12-01", "2027-01-01"),
        ("2027-01-01T00:30:00+01:00", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_month_is_a_month_of_utc(instant, start, end):
    month = month_of(datetime.fromisoformat(instant))

    assert month == Span(
        datetime.fromisoformat(start).replace(tzinfo=UTC), datetime.fromisoformat(end).replace(tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("width_s", "level"),
    [
        (0, RollupLevel.RAW),
        (59.999999, RollupLevel.RAW),
        (60, RollupLevel.MINUTE),
        (3599, RollupLevel.MINUTE),
        (3600, RollupLevel.HOUR),
        (86400 * 365, RollupLevel.HOUR),
        (-1, RollupLevel.RAW),
    ],
)
def test_the_coarsest_level_that_is_not_wider_than_a_bucket_answers(width_s, level):
    assert level_for(round(width_s * 1_000_000)) is level
