"""What a network says of a stream: the same for other units, across restarts, and in a bank."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detection.forecast_builders import forecasts, made_weights
from tests.unit.detection.made_streams import noise, season

from iotistic.detection.forecast import READY, ForecastStream, Weights
from iotistic.detection.forecast_bank import ForecastBank


def test_a_network_computed_by_hand_says_the_same():
    weights, values = made_weights(units=2), noise(1)[:60]
    stream = ForecastStream(weights)
    forecasts(stream, values[:-1])
    hidden, cell = np.array(stream.to_list()[-2:]), np.array(stream.to_list()[-4:-2])
    stream.update(values[-1])
    spread = math.sqrt(stream.scale.variance) * stream.scale.sign
    gates = weights.kernel @ np.array([stream.scale.place, stream.scale.step, *hidden, 1.0])
    opened, kept, shown = (1 / (1 + np.exp(-gates[i : i + 2])) for i in (0, 2, 4))
    cell = kept * cell + opened * np.tanh(gates[6:])
    ahead = weights.output[:2] @ (shown * np.tanh(cell)) + weights.output[2]

    assert stream.expected == pytest.approx(values[-1] + ahead * spread, rel=1e-12)


def test_nothing_is_said_until_enough_is_known():
    said = forecasts(ForecastStream(made_weights()), noise(1))

    assert said[:READY] == [None] * READY
    assert None not in said[READY:]


@pytest.mark.parametrize(("a", "b"), [(1.8, 32.0), (-0.001, 5.0), (1000.0, 1e6), (-1.0, 0.0)])
def test_other_units_give_the_same_forecasts(a, b):
    values = season(3)
    here = forecasts(ForecastStream(made_weights()), values)[READY:]
    there = forecasts(ForecastStream(made_weights()), [a * value + b for value in values])[READY:]

    assert np.allclose(there, [a * one + b for one in here], rtol=1e-9, atol=1e-6 * abs(a))


def test_a_constant_is_expected_to_stay():
    assert forecasts(ForecastStream(made_weights()), [7.25] * 60)[-1] == 7.25


@pytest.mark.parametrize("cut", [0, 1, READY - 1, READY, 300])
def test_a_saved_and_restored_stream_goes_on_as_before(cut):
    values, weights = season(2), made_weights()
    expected = forecasts(ForecastStream(weights), values)
    first = ForecastStream(weights)
    forecasts(first, values[:cut])
    saved, pickled = ForecastStream.restore(first.save(), weights), pickle.loads(pickle.dumps(first))

    assert forecasts(saved, values[cut:]) == forecasts(pickled, values[cut:]) == expected[cut:]
    assert saved.save() == pickled.save()


@pytest.mark.parametrize("saved", [b"", b"\x01", b"\x02" + bytes(152), bytes(10)])
def test_a_state_that_is_none_is_refused(saved):
    with pytest.raises(ValueError, match="state"):
        ForecastStream.restore(saved, made_weights())


def test_a_state_of_another_size_or_with_no_numbers_is_refused():
    saved = ForecastStream(made_weights(units=4)).save()
    with pytest.raises(ValueError, match="size"):
        ForecastStream.restore(saved, made_weights(units=5))
    with pytest.raises(ValueError, match="numbers"):
        ForecastStream.restore(saved[:1] + b"\xff" * 8 + saved[9:], made_weights(units=4))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(), st.none(), st.integers(), st.text(max_size=2)), max_size=80))
def test_whatever_comes_a_forecast_is_a_number(values):
    stream = ForecastStream(made_weights())
    forecasts(stream, noise(1)[:40])
    said = forecasts(stream, values)

    assert all(math.isfinite(one) for one in said)
    ForecastStream.restore(stream.save(), stream.weights)


def test_a_bank_says_what_its_streams_say_one_by_one():
    chance, weights = np.random.default_rng(1), made_weights(units=7)
    values = chance.normal(size=(300, 4)) * [1, 1e-3, 50, 1] + [0, 5, -1e4, 0]
    values[chance.random(values.shape) < 0.05] = np.nan
    values[:, 3] = 4.0
    bank, single = ForecastBank(weights, 4), [ForecastStream(weights) for _ in range(4)]

    for row in values:
        alone = [math.nan if one.expected is None else one.expected for one in single]
        assert np.allclose(bank.expected, alone, rtol=1e-9, equal_nan=True)
        bank.step(row)
        for one, value in zip(single, row, strict=True):
            one.update(value)


def test_a_large_bank_says_for_each_stream_what_a_small_one_says():
    chance, weights = np.random.default_rng(2), made_weights()
    rows = chance.normal(size=(40, 250))
    rows[chance.random(rows.shape) < 0.02] = np.nan
    large, small = ForecastBank(weights, 250), ForecastBank(weights, 3)
    for row in rows:
        large.step(row)
        small.step(row[[0, 101, 249]])

    assert np.allclose(large.expected[[0, 101, 249]], small.expected, rtol=1e-9, equal_nan=True)


def test_a_stream_moves_between_a_bank_and_a_stream_of_its_own():
    values, weights = season(1), made_weights()
    one = ForecastStream(weights)
    forecasts(one, values[:100])
    bank = ForecastBank(weights, 2)
    bank.put(1, one)

    assert bank.stream(1).save() == one.save()
    assert np.isnan(bank.expected[0])
    assert bank.expected[1] == one.expected


@pytest.mark.parametrize(
    "wrong",
    [
        (np.zeros((8, 4)), np.zeros(3), 0.01),
        (np.zeros((8, 5)), np.array([0.0, math.nan, 0.0]), 0.01),
        (np.zeros((8, 5)), np.zeros(3), 0.0),
        (np.zeros((0, 3)), np.zeros(1), 0.01),
    ],
    ids=["shapes", "no number", "no gain", "no units"],
)
def test_weights_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match=r"weights|spread_gain"):
        Weights(*wrong)
