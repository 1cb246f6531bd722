"""Simulated values are functions of time and a seed: days of them in no time."""

import math
import mmap
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.scenarios import chance
from iotistic.agent.scenarios.anomalies import disturbed, onset
from iotistic.agent.scenarios.leak import Ballast, leaked_mb
from iotistic.agent.scenarios.model import AnomalyInjection, LeakKind, MemoryLeak, Pattern
from iotistic.agent.scenarios.patterns import sample
from iotistic.agent.scenarios.quantities import MACHINE, SENSORS
from iotistic.agent.sensors.reading import Quality

DAY_S = 86_400
NOW = 1_795_255_200.0
TEMPERATURE = SENSORS["temperature"]
quantities = st.sampled_from([*SENSORS.values(), *MACHINE.values()])
times = st.floats(0, 4e9)
seeds = st.integers(0, 2**63)


def series(pattern, quantity=TEMPERATURE, *, seed=1, step_s=60, hours=24, period_s=300.0):
    ticks = range(round(hours * 3600 / step_s))
    return [sample(quantity, pattern, NOW + tick * step_s, seed, period_s).value for tick in ticks]


@given(quantities, st.sampled_from(Pattern), times, seeds)
def test_a_value_is_within_the_sensors_range_and_the_same_when_asked_again(quantity, pattern, at, seed):
    first = sample(quantity, pattern, at, seed)

    assert first == sample(quantity, pattern, at, seed)
    assert first.value is None or quantity.least <= first.value <= quantity.most
    assert (first.value is None) == (first.quality is Quality.BAD)


@given(quantities, times, seeds)
def test_a_value_is_one_that_the_sensors_converter_can_give(quantity, at, seed):
    steps = sample(quantity, Pattern.REALISTIC, at, seed).value / quantity.step

    assert math.isclose(steps, round(steps), abs_tol=1e-6)


@given(seeds, times, st.floats(0.1, 1e5))
def test_noise_that_sways_stays_within_its_bound(seed, at, step_s):
    assert abs(chance.sway(seed, at, step_s)) <= chance.MOST_SWAY


def test_drawn_numbers_look_drawn():
    units = [chance.unit(7, number) for number in range(20_000)]
    bells = [chance.bell(7, number) for number in range(20_000)]

    assert 0.49 < statistics.mean(units) < 0.51
    assert len(set(units)) == len(units)
    assert abs(statistics.mean(bells)) < 0.03
    assert 0.97 < statistics.stdev(bells) < 1.03


def test_noise_returns_to_its_middle():
    steps = [chance.sway(3, number * 60.0, 60.0) for number in range(5000)]
    far = [(one, after) for one, after in pairwise(steps) if abs(one) > 1.5]

    assert abs(statistics.mean(steps)) < 0.15
    assert statistics.mean(abs(after) < abs(one) for one, after in far) > 0.6


def test_realistic_values_are_warmer_in_the_afternoon_and_never_jump():
    day = series(Pattern.REALISTIC, hours=24 * 10)
    hour_of = [int((NOW + tick * 60) % DAY_S // 3600) for tick in range(len(day))]
    afternoon = [value for value, hour in zip(day, hour_of, strict=True) if 13 <= hour < 17]
    night = [value for value, hour in zip(day, hour_of, strict=True) if 1 <= hour < 5]

    assert statistics.mean(afternoon) > statistics.mean(night) + TEMPERATURE.variance / 2
    assert max(abs(one - other) for one, other in pairwise(day)) < TEMPERATURE.variance
    assert max(abs(value - TEMPERATURE.base) for value in day) < 2 * TEMPERATURE.variance


def test_two_devices_do_not_show_the_same():
    assert series(Pattern.REALISTIC, seed=1) != series(Pattern.REALISTIC, seed=2)


def test_a_sine_returns_after_its_period_between_its_bounds():
    wave = series(Pattern.SINE, step_s=10, hours=1, period_s=600.0)

    assert wave[:60] == wave[60:120]
    assert max(wave) == TEMPERATURE.base + TEMPERATURE.variance
    assert min(wave) == TEMPERATURE.base - TEMPERATURE.variance


def test_random_values_fill_the_range():
    found = series(Pattern.RANDOM)

    assert min(found) < TEMPERATURE.least + 2
    assert max(found) > TEMPERATURE.most - 2


@pytest.mark.parametrize(("pattern", "sign"), [(Pattern.SPIKE, 1), (Pattern.DROP, -1)])
def test_spikes_and_drops_are_rare_and_far_out_on_their_side(pattern, sign):
    away = [sign * (value - TEMPERATURE.base) / TEMPERATURE.variance for value in series(pattern)]
    out = [one for one in away if one > 3]

    assert 0.02 < len(out) / len(away) < 0.09
    assert min(away) > -2.5


def test_drift_moves_away_within_the_hour_and_starts_over():
    found = series(Pattern.DRIFT, hours=2)
    hour_at = round(3600 - NOW % 3600) // 60

    assert found[hour_at + 58] - found[hour_at + 1] > 3 * TEMPERATURE.variance
    assert found[hour_at + 58] - found[(hour_at + 61) % len(found)] > 3 * TEMPERATURE.variance


def test_a_cyclic_machine_is_at_full_load_and_at_rest_for_long():
    found = series(Pattern.CYCLIC, step_s=1, hours=1)
    high, low = TEMPERATURE.base + TEMPERATURE.variance, TEMPERATURE.base - TEMPERATURE.variance

    assert statistics.mean(value > high - 0.4 for value in found) > 0.3
    assert statistics.mean(value < low + 0.4 for value in found) > 0.15


def test_noisy_values_are_several_times_as_restless():
    def restless(pattern):
        return statistics.mean(abs(one - other) for one, other in pairwise(series(pattern)))

    assert restless(Pattern.NOISY) > 5 * restless(Pattern.REALISTIC)


def test_a_faulty_sensor_falls_silent_sticks_and_says_so_but_is_mostly_right():
    found = [sample(TEMPERATURE, Pattern.FAULTY, NOW + tick * 10, 1) for tick in range(20_000)]
    shares = {quality: sum(one.quality is quality for one in found) / len(found) for quality in Quality}

    assert 0.75 < shares[Quality.GOOD] < 0.95
    assert shares[Quality.BAD] > 0.01
    assert shares[Quality.UNCERTAIN] > 0.02


def test_extreme_values_are_both_ends_of_the_range():
    assert set(series(Pattern.EXTREME, step_s=10, hours=1)) == {TEMPERATURE.least, TEMPERATURE.most}


@given(quantities, st.sampled_from(Pattern), times, seeds, st.floats(0.1, 10), st.floats(0, 1))
def test_a_disturbed_value_is_one_that_the_sensor_could_show(quantity, pattern, at, seed, magnitude, rate):
    injection = AnomalyInjection((quantity.metric,), pattern, rate=rate, magnitude=magnitude)
    found = disturbed(injection, quantity, quantity.base, at, seed)

    assert found == disturbed(injection, quantity, quantity.base, at, seed)
    assert found is None or quantity.least <= found <= quantity.most
    assert (found is None) == (onset(injection, quantity.metric, at, seed) is None)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_as_many_intervals_have_an_anomaly_as_the_rate_says(rate):
    injection = AnomalyInjection(("cpu_temp",), every_s=60, lasts_s=20, rate=rate)
    found = [onset(injection, "cpu_temp", number * 60 + 5.0, 1) is not None for number in range(5000)]

    assert abs(statistics.mean(found) - rate) < 0.03


@pytest.mark.parametrize(
    ("pattern", "into_s", "expected"),
    [
        (Pattern.SPIKE, 5, 52.0 * 2.5),
        (Pattern.DROP, 5, 52.0 / 2.5),
        (Pattern.DRIFT, 0, 52.0),
        (Pattern.DRIFT, 10, 52.0 * 1.75),
        (Pattern.SPIKE, 20, None),
    ],
)
def test_an_anomaly_is_as_large_as_its_magnitude_and_as_long_as_it_lasts(pattern, into_s, expected):
    injection = AnomalyInjection(("cpu_temp",), pattern, every_s=60, lasts_s=20, magnitude=3.0)
    found = disturbed(injection, MACHINE["cpu_temp"], 52.0, 6000.0 + into_s, 1)

    assert found == (expected if expected is None else pytest.approx(min(expected, 125.0), abs=0.06))


def test_a_metric_that_was_not_chosen_is_left_alone():
    assert disturbed(AnomalyInjection(("cpu_temp",)), MACHINE["cpu_usage"], 10.0, 6000.0, 1) is None


@given(st.sampled_from(LeakKind), st.floats(0.01, 50), st.floats(0.01, 200), st.floats(0, 1e6))
def test_a_leak_is_never_larger_than_its_cap(kind, rate_mb, most_mb, elapsed_s):
    leak = MemoryLeak(kind, rate_mb, 5.0, most_mb)

    assert 0 <= leaked_mb(leak, elapsed_s) <= most_mb


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (LeakKind.GRADUAL, [2, 4, 6, 7, 7, 7, 7]),
        (LeakKind.SUDDEN, [7, 7, 7, 7, 7, 7, 7]),
        (LeakKind.CYCLIC, [2, 4, 6, 7, 0, 2, 4]),
    ],
)
def test_a_leak_grows_in_its_way(kind, expected):
    leak = MemoryLeak(kind, rate_mb=2.0, every_s=5.0, most_mb=7.0)

    assert [leaked_mb(leak, number * 5.0) for number in range(7)] == expected


def test_ballast_is_memory_of_the_process_and_is_given_back():
    def resident_mb():
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * mmap.PAGESIZE / 2**20

    ballast, before = Ballast(), resident_mb()
    ballast.hold(24.0)
    during, held = resident_mb(), ballast.mb
    ballast.hold(24.0)
    again = ballast.mb
    ballast.release()
    after = resident_mb()

    assert held == again == 24.0
    assert during - before > 22
    assert after - before < 6
    assert ballast.mb == 0
