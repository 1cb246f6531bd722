"""Device times, in every form that devices send them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.decode.timestamps import MISSING, UNREADABLE, to_microseconds

T = 1_795_255_200_000_000  # 2026-11-21T10:00:00Z


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-11-21T10:00:00Z", T),
        ("2026-11-21T10:00:00", T),
        ("2026-11-21 10:00:00.123456", T + 123_456),
        ("2026-11-21T10:00:00.5Z", T + 500_000),
        ("2026-11-21T10:00:00.123456789Z", T + 123_456),
        ("2026-11-21T12:00:00+02:00", T),
        (T // 1_000_000, T),
        (T // 1000, T),
        (T, T),
        (T * 1000, T),
        (T / 1_000_000, T),
        (str(T // 1000), T),
        (None, MISSING),
        ("yesterday", UNREADABLE),
        ("2026-02-30T10:00:00Z", UNREADABLE),
        ("2026-11-21T24:61:00Z", UNREADABLE),
        ("2026-11-21T10:00:0xZ", UNREADABLE),
        ("", UNREADABLE),
        (float("nan"), UNREADABLE),
        (1e300, UNREADABLE),
    ],
)
def test_a_stamp_is_read_alone_and_in_a_column(stamp, expected):
    assert to_microseconds([stamp]).tolist() == [expected]
    assert to_microseconds([stamp] * 3).tolist() == [expected] * 3
    assert to_microseconds(["2026-11-21T10:00:00Z", stamp]).tolist() == [T, expected]


moments = st.datetimes(datetime(1900, 1, 1), datetime(2199, 1, 1))  # noqa: DTZ001 - naive means UTC here
epoch = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.lists(moments, min_size=1, max_size=20), st.sampled_from(["T", " "]), st.sampled_from(["", "Z"]))
def test_a_column_of_one_shape_is_exact(column, between, zone):
    texts = [moment.isoformat(between, "microseconds") + zone for moment in column]

    expected = [(m.replace(tzinfo=UTC) - epoch) // timedelta(microseconds=1) for m in column]
    assert to_microseconds(texts).tolist() == expected


@given(
    st.lists(st.one_of(st.text(max_size=30), st.none(), st.floats(), st.integers()), min_size=1, max_size=5)
)
def test_garbage_never_raises(column):
    column = [one if not isinstance(one, int) or abs(one) < 2**63 else 0 for one in column]

    assert to_microseconds(column).dtype == np.int64


def test_one_odd_character_does_not_pass_for_a_digit():
    assert to_microseconds(["2026-11-21T1/:00:00Z"]).tolist() == [UNREADABLE]
    assert to_microseconds(["2026-11-21T10:00:00.12:456Z"]).tolist() == [UNREADABLE]
