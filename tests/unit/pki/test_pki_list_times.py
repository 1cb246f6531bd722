from datetime import UTC, datetime, timedelta

import pytest

from iotistic.pki.ca import CLOCK_SKEW
from iotistic.pki.revocation import next_list_at

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last", "made_at", "wait_s"),
    [
        (None, NOW, 0),
        (NOW - SECOND, NOW, 0),
        (NOW, NOW + SECOND, 0),
        (NOW + 60 * SECOND, NOW + 61 * SECOND, 0),
        (NOW + CLOCK_SKEW, NOW + CLOCK_SKEW + SECOND, 1),
        (NOW + CLOCK_SKEW + timedelta(hours=1), NOW, 0),
    ],
    ids=["first", "later", "same second", "many", "too many", "wrong clock"],
)
def test_a_list_bears_a_later_second_than_the_last_and_never_one_to_come(last, made_at, wait_s):
    assert next_list_at(last, NOW + SECOND / 2) == (made_at, wait_s)
