import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.link.pacing import Pace, Reach, next_slot, slot_s

DAY = 1_700_000_000.0


@given(st.text(), st.floats(1, 3600), st.floats(0, 2e9))
def test_the_next_moment_comes_within_one_interval(name: str, interval_s: float, now: float) -> None:
    assert now < next_slot(name, interval_s, now) <= now + interval_s + 1e-3


def test_a_fleet_is_spread_over_the_interval_even_when_all_come_back_at_once() -> None:
    moments = sorted(next_slot(f"device-{number}", 60.0, DAY) - DAY for number in range(6000))
    in_one_second = [sum(second <= moment < second + 1 for moment in moments) for second in range(60)]
    assert max(in_one_second) < 2 * statistics.mean(in_one_second)


def test_a_device_keeps_its_moment() -> None:
    first = next_slot("device-7", 60.0, DAY)
    assert next_slot("device-7", 60.0, first + 1) == pytest.approx(first + 60.0, abs=1e-3)
    assert slot_s("device-7", 60.0) == slot_s("device-7", 60.0)


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 15), (2, 30), (3, 60), (6, 480), (7, 900), (9, 900), (10, 900), (50, 900)]
)
def test_pauses_double_up_to_a_quarter_of_an_hour(failures: int, expected: float) -> None:
    pace = Pace("device-7", 60.0, failures - 1)
    assert pace.failed(DAY, 0.5) == pytest.approx(DAY + expected)


@given(st.integers(0, 100), st.floats(0, 1))
def test_chance_moves_a_pause_by_a_third_at_most(failures: int, chance: float) -> None:
    middle = Pace("a", 60.0, failures).failed(0, 0.5)
    assert 0.69 * middle <= Pace("a", 60.0, failures).failed(0, chance) <= 1.31 * middle


def test_what_the_cloud_says_about_when_to_come_again_is_honoured() -> None:
    assert Pace("a", 60.0).failed(DAY, 0.5, retry_after_s=500) == DAY + 500


def test_failures_in_a_row_tell_how_the_cloud_is_reached() -> None:
    pace = Pace("a", 60.0)
    seen = [pace.reach]
    for _ in range(3):
        pace.failed(DAY, 0.5)
        seen.append(pace.reach)
    pace.succeeded(DAY)
    assert seen == [Reach.ONLINE, Reach.ONLINE, Reach.DEGRADED, Reach.OFFLINE]
    assert pace.reach is Reach.ONLINE
