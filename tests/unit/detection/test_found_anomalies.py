"""Stories with a known end: what has to be found, and what has not."""

import pytest
from tests.unit.detection.made_streams import DAY, THRESHOLDS, noise, rows_after, season, times, watch

from iotistic.detection import Constants, Method, Severity, Trend, Watch

ROW = 9 * DAY + 100


def changed(values: list[float], change, until: int | None = None) -> list[float]:
    end = len(values) if until is None else until
    return [change(i - ROW, v) if ROW <= i < end else v for i, v in enumerate(values)]


@pytest.mark.parametrize("make", [noise, season])
@pytest.mark.parametrize("by", [30.0, -30.0], ids=["spike", "drop"])
def test_a_single_spike_or_drop_is_found_at_once(make, by):
    values = changed(make(12), lambda _, v: v + by, until=ROW + 1)

    assert rows_after(values, ROW - DAY)[0] == ROW


@pytest.mark.parametrize("make", [noise, season])
def test_a_level_shift_is_found_at_once_and_told_once(make):
    values = changed(make(12), lambda _, v: v + 20)
    found = rows_after(values, ROW - DAY)

    assert found[0] == ROW
    assert len(found) <= 3


def test_a_drift_is_found_before_it_is_as_large_as_the_noise_again():
    values = changed(noise(14), lambda age, v: v + age / DAY)
    found = rows_after(values, ROW)

    assert found
    assert found[0] - ROW < 2 * DAY


def test_a_second_spike_is_found_after_a_far_larger_first_one():
    values = noise(14)
    values[6 * DAY] += 1000
    values[12 * DAY] += 100

    assert {6 * DAY, 12 * DAY} <= set(rows_after(values, 0))


def test_a_day_without_its_wave_is_found_though_no_value_is_unusual_in_itself():
    values = season(16)
    values[10 * DAY : 11 * DAY] = noise(1, seed=5)

    assert any(10 * DAY <= row < 11 * DAY for row in rows_after(values, 0))


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_season_is_told_a_few_times_in_twenty_days_at_most(seed):
    assert len(rows_after(season(20, seed=seed), DAY + 100)) <= 6


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_noise_is_told_once_in_twenty_days_at_most(seed):
    assert len(rows_after(noise(20, seed=seed), 0)) <= 1


@pytest.mark.parametrize("value", [0.0, 45.0, 0.1, -1e9, 1e-30])
def test_a_constant_is_never_told(value):
    assert watch([value] * 6 * DAY) == []


def test_the_first_change_of_a_constant_is_told_even_when_it_is_small():
    values = [0.1] * 4 * DAY + [0.100001] + [0.1] * 10

    assert [row for row, _ in watch(values)] == [4 * DAY]


def test_another_unit_is_told_and_then_got_used_to():
    values = [v if i < 5 * DAY else v * 1.8 + 32 for i, v in enumerate(noise(20))]
    found = [row for row, _ in watch(values)]

    assert 5 * DAY in found
    assert len([row for row in found if row > 7 * DAY]) <= 1


def test_nothing_is_told_while_learning():
    one = Watch("cpu", THRESHOLDS)
    values = [1.0, 2.0] * 25
    told = [one.update(t, value) for t, value in zip(times(values), values, strict=True)]

    assert one.learning
    assert not any(told)
    one.update(2e9, 1.0)
    assert not one.learning


def test_an_event_says_what_was_expected_and_how_far_off_the_value_was():
    values = changed(noise(12), lambda _, v: 60.0, until=ROW + 1)
    [(_, event)] = [(row, event) for row, event in watch(values) if row == ROW]

    assert (event.metric, event.value, event.severity) == ("cpu", 60.0, Severity.CRITICAL)
    assert event.baseline == pytest.approx(20.0, abs=1.0)
    assert 15.0 < event.expected_low < 19.0
    assert 21.0 < event.expected_high < 25.0
    assert event.deviation > 10
    assert 0.9 < event.confidence <= 1.0
    assert event.score > 5


def test_the_event_names_the_measure_that_is_exceeded_most():
    values = changed(noise(12), lambda _, v: 60.0, until=ROW + 1)
    [event] = [event for row, event in watch(values) if row == ROW]

    assert event.method in {Method.ZSCORE, Method.MAD, Method.IQR}


def test_a_forecast_that_was_kept_so_far_and_fails_now_names_the_event():
    one, values = Watch("cpu", THRESHOLDS, Constants(forecast_weight=1.0)), noise(4)
    told = [
        one.update(t, value, value + 0.001 * (i % 7))
        for i, (t, value) in enumerate(zip(times(values), values, strict=True))
    ]
    event = one.update(times(values)[-1] + 300, 20.5, 19.5)

    assert not any(told[DAY:])
    assert event is not None
    assert event.method is Method.FORECAST


def test_by_itself_a_forecast_decides_nothing():
    values = season(4)
    values[3 * DAY + 50] += 15.0
    with_one, without = Watch("cpu", THRESHOLDS), Watch("cpu", THRESHOLDS)
    pairs = [
        (with_one.update(t, value, 20.0 + i % 3), without.update(t, value))
        for i, (t, value) in enumerate(zip(times(values), values, strict=True))
    ]

    assert any(one for one, _ in pairs)
    assert [one and one.score for one, _ in pairs] == [other and other.score for _, other in pairs]


def test_the_trend_is_rising_in_a_drift():
    values = changed(noise(14), lambda age, v: v + age / DAY)
    events = [event for row, event in watch(values) if row >= ROW]

    assert events[0].trend is Trend.RISING


def test_a_deviation_lasts_in_the_raw_score_after_its_event():
    values = changed(noise(12), lambda _, v: v + 20)
    one = Watch("cpu", THRESHOLDS)
    lasting = []
    for t, value in zip(times(values), values, strict=True):
        one.update(t, value)
        lasting.append(one.lasting)

    assert all(lasting[ROW : ROW + 50])
    assert not any(lasting[ROW - DAY : ROW])
