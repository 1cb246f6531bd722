"""What is judged live, in whatever batches, is what a backtest of the whole finds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.control.alerts.conditions import (
    Anomaly,
    NoData,
    RateOfChange,
    Threshold,
)
from iotistic.control.alerts.evaluate import Batch, Change, Phase, SeriesState, Transition, evaluate

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
FIRING, RESOLVED, PENDING, CANCELLED = Change.FIRING, Change.RESOLVED, Change.PENDING, Change.CANCELLED


def threshold(**limits):
    return Threshold(type="threshold", metric="temperature", **limits)


def batch(values, step_s=1):
    times = START + np.arange(len(values), dtype=np.int64) * step_s * SECOND
    return Batch(times, np.array(values, np.float64))


def told(condition, values, for_s=0.0, step_s=1):
    """Return (change, seconds from the start) of everything that happened."""
    whole = batch(values, step_s)
    _, found = evaluate(condition, for_s, SeriesState(), whole, int(whole.times_us[-1]))
    return [(one.change, (one.at_us - START) // SECOND) for one in found]


def test_a_value_above_the_limit_fires_and_one_below_it_resolves():
    assert told(threshold(above=30), [20, 31, 32, 30]) == [(FIRING, 1), (RESOLVED, 3)]


def test_what_does_not_last_never_fires():
    assert told(threshold(above=30), [31, 31, 20, 31, 31, 31, 31], for_s=3) == [
        (PENDING, 0),
        (CANCELLED, 2),
        (PENDING, 3),
        (FIRING, 6),
    ]


def test_a_value_in_the_band_of_hysteresis_neither_raises_nor_ends():
    assert told(threshold(above=30, hysteresis=2), [29, 31, 29, 31, 28, 29]) == [(FIRING, 1), (RESOLVED, 4)]


def test_both_limits_count():
    assert told(threshold(above=30, below=10), [20, 5, 20, 35]) == [(FIRING, 1), (RESOLVED, 2), (FIRING, 3)]


def test_a_value_that_is_no_number_decides_nothing():
    assert told(threshold(above=30), [31, math.nan, 31, math.nan, 1]) == [(FIRING, 0), (RESOLVED, 4)]


def test_a_jump_within_the_window_fires():
    rises = RateOfChange(type="rate_of_change", metric="t", window_s=3, rises_by=10)

    assert told(rises, [0, 4, 8, 11, 12, 12, 12, 12]) == [(FIRING, 3), (RESOLVED, 4)]


def test_a_fall_fires_where_falls_are_asked_for():
    falls = RateOfChange(type="rate_of_change", metric="t", window_s=3, falls_by=10)

    assert told(falls, [0, 40, 20, 20, 20, 20]) == [(FIRING, 4), (RESOLVED, 5)]


def test_changes_beyond_all_numbers_raise_nothing_by_mistake():
    rises = RateOfChange(type="rate_of_change", metric="t", window_s=3, rises_by=10)

    assert told(rises, [math.inf, math.inf, -math.inf, math.inf]) == []
    assert told(rises, [-math.inf, 1e308, math.inf]) == [(FIRING, 1)]


def test_silence_fires_when_it_has_lasted_and_ends_with_a_reading():
    silent = NoData(type="no_data", metric="t", after_s=10)
    whole = Batch(np.array([START, START + 60 * SECOND]), np.zeros(2))

    _, found = evaluate(silent, 0, SeriesState(), whole, START + 75 * SECOND)

    assert [(one.change, (one.at_us - START) // SECOND) for one in found] == [
        (FIRING, 10),
        (RESOLVED, 60),
        (FIRING, 70),
    ]


def test_an_unusual_value_fires_once_the_series_is_known():
    wave = [math.sin(place / 5) for place in range(400)]
    wave[300] = 60.0

    changes = told(Anomaly(type="anomaly", metric="t"), wave, step_s=60)

    assert changes[0] == (FIRING, 300 * 60)
    assert changes[1][0] is RESOLVED


def test_readings_that_were_judged_already_are_skipped():
    state, _ = evaluate(threshold(above=30), 0, SeriesState(), batch([31, 31]), START + SECOND)

    again, found = evaluate(threshold(above=30), 0, state, batch([31, 1]), START + SECOND)

    assert (again, found) == (state, [])


def test_a_state_is_kept_and_read_back():
    state = SeriesState(Phase.FIRING, 7, 9, b"abc")

    assert SeriesState.read(state.write()) == state


def rate(window_s, rises_by, falls_by, hysteresis):
    return RateOfChange(
        type="rate_of_change",
        metric="t",
        window_s=window_s,
        rises_by=rises_by,
        falls_by=falls_by,
        hysteresis=hysteresis,
    )


CONDITIONS = st.one_of(
    st.builds(
        threshold,
        above=st.integers(5, 9).map(float),
        below=st.none() | st.integers(0, 3).map(float),
        hysteresis=st.sampled_from([0.0, 1.0, 2.0]),
    ),
    st.builds(
        rate,
        st.sampled_from([1.0, 5.0, 60.0]),
        st.integers(1, 6).map(float),
        st.none() | st.integers(1, 6).map(float),
        st.sampled_from([0.0, 1.0]),
    ),
    st.sampled_from([5.0, 9.0]).map(lambda after_s: NoData(type="no_data", metric="t", after_s=after_s)),
    st.just(Anomaly(type="anomaly", metric="t", score=0.01)),
)
STEPS = st.lists(st.integers(1, 15), min_size=1, max_size=120)
VALUES = st.sampled_from([*map(float, range(11)), math.nan])


@settings(max_examples=300, deadline=None)
@given(
    condition=CONDITIONS,
    for_s=st.sampled_from([0.0, 4.0, 20.0]),
    steps=STEPS,
    data=st.data(),
)
def test_live_in_any_batching_equals_a_backtest(condition, for_s, steps, data):
    times = START + np.cumsum(np.array(steps, np.int64)) * SECOND
    values = np.array(data.draw(st.lists(VALUES, min_size=len(steps), max_size=len(steps))))
    end = int(times[-1]) + data.draw(st.integers(0, 20)) * SECOND
    cuts = sorted(data.draw(st.sets(st.integers(START, end), max_size=12)))
    begin = SeriesState(last_us=START)

    live, state = [], begin
    for start, until in itertools.pairwise([START - 1, *cuts, end]):
        wanted = (times > start) & (times <= until)
        # As between two processes: what is known goes through its bytes.
        state = SeriesState.read(state.write())
        state, found = evaluate(condition, for_s, state, Batch(times[wanted], values[wanted]), until)
        live += found
    _, whole = evaluate(condition, for_s, begin, Batch(times, values), end)

    assert [comparable(one) for one in live] == [comparable(one) for one in whole]


def comparable(one: Transition):
    return one.change, one.at_us, one.since_us, repr(one.value)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=80), for_s=st.sampled_from([0.0, 3.0]))
def test_transitions_alternate_and_never_go_back_in_time(values, for_s):
    changes = told(threshold(above=7, hysteresis=2), values, for_s=for_s)

    follows = {
        None: {PENDING, FIRING},
        PENDING: {FIRING, CANCELLED},
        FIRING: {RESOLVED},
        RESOLVED: {PENDING, FIRING},
        CANCELLED: {PENDING, FIRING},
    }
    kinds = [None, *(change for change, _ in changes)]
    assert all(after in follows[before] for before, after in itertools.pairwise(kinds))
    assert [at for _, at in changes] == sorted(at for _, at in changes)


@pytest.mark.parametrize("condition", [threshold(above=1), NoData(type="no_data", metric="t", after_s=5)])
def test_an_empty_batch_changes_nothing(condition):
    empty = Batch(np.empty(0, np.int64), np.empty(0))

    assert evaluate(condition, 0, SeriesState(), empty, START) == (SeriesState(), [])
