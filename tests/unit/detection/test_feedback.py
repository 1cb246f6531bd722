"""What people say of events, and how long a stream remembers it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.detection.constants import FULL_SCORE
from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.feedback import (
    DAY_S,
    EXPECTED_FACTOR,
    MOST_LESSONS,
    MOST_WRONG_FACTOR,
    Tolerance,
    Verdict,
    lesson_of,
)
from iotistic.detection.watches import THRESHOLDS

NOW = 1.8e9
LARGEST_TIMES = FULL_SCORE / THRESHOLDS.alert


def event(value=90.0, *, baseline=20.0, half=3.0):
    low, high = baseline - half, baseline + half
    return Event(
        "cpu",
        NOW,
        value,
        Method.ZSCORE,
        Severity.CRITICAL,
        0.9,
        12.0,
        low,
        high,
        baseline,
        Trend.STEADY,
        6.0,
    )


def taught(verdict, *events):
    tolerance = Tolerance()
    for number, one in enumerate(events):
        tolerance.learn(lesson_of(f"e{number}", verdict, one, NOW))
    return tolerance


def test_nothing_was_said_so_nothing_is_raised():
    assert Tolerance().factor(90.0, NOW) == 1.0


def test_what_is_expected_is_silent_up_to_a_quarter_beyond_and_told_further_out():
    tolerance = taught(Verdict.EXPECTED, event(90.0))

    assert tolerance.factor(90.0, NOW) > LARGEST_TIMES
    assert tolerance.factor(107.0, NOW) > LARGEST_TIMES
    assert tolerance.factor(108.0, NOW) == 1.0
    assert tolerance.factor(19.0, NOW) == 1.0


def test_what_is_expected_below_is_told_above():
    tolerance = taught(Verdict.EXPECTED, event(0.0))

    assert tolerance.factor(-4.9, NOW) == EXPECTED_FACTOR
    assert tolerance.factor(21.0, NOW) == 1.0


def test_what_is_expected_is_forgotten_after_five_months():
    tolerance = taught(Verdict.EXPECTED, event())

    assert tolerance.factor(90.0, NOW + 30 * DAY_S) == pytest.approx(16.0)
    assert tolerance.factor(90.0, NOW + 150 * DAY_S) == 1.0


def test_wrong_makes_the_whole_stream_less_easily_told_and_never_the_largest_scores():
    once, often = taught(Verdict.WRONG, event()), taught(Verdict.WRONG, *[event()] * 9)

    assert once.factor(-1e9, NOW) == 2.0
    assert often.factor(0.0, NOW) == MOST_WRONG_FACTOR < LARGEST_TIMES
    assert once.factor(0.0, NOW + 14 * DAY_S) == 1.0


def test_another_verdict_on_the_same_event_takes_the_place_of_the_first():
    tolerance = taught(Verdict.WRONG, event())
    tolerance.learn(lesson_of("e0", Verdict.EXPECTED, event(), NOW))

    assert tolerance.factor(0.0, NOW) == 1.0
    assert tolerance.factor(90.0, NOW) == EXPECTED_FACTOR
    tolerance.unlearn("e0")
    assert tolerance.factor(90.0, NOW) == 1.0


def test_a_stream_remembers_so_many_lessons_and_the_weakest_goes():
    tolerance = taught(Verdict.EXPECTED, event(90.0))
    for number in range(MOST_LESSONS):
        later = NOW + DAY_S + number
        tolerance.learn(lesson_of(f"l{number}", Verdict.EXPECTED, event(-50.0 - number), later))

    assert len(tolerance.lessons) == MOST_LESSONS
    assert tolerance.factor(90.0, NOW + 2 * DAY_S) == 1.0


@settings(deadline=None)
@given(st.floats(-1e12, 1e12), st.floats(0, 4e9), st.sampled_from(Verdict))
def test_a_factor_is_at_least_one_whenever_it_is_asked_for(value, at, verdict):
    assert 1.0 <= taught(verdict, event()).factor(value, at) <= EXPECTED_FACTOR
