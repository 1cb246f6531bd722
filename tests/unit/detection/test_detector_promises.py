"""What holds for every stream whatever comes: units, restarts, garbage."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detection.made_streams import DAY, noise, season, times

from iotistic.detection import Constants, Detector
from iotistic.detection.bank import Bank

ANYTHING = st.one_of(
    st.floats(),
    st.integers(),
    st.none(),
    st.text(max_size=3),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e150, 5e-324, 10**400]),
)


def scores(detector: Detector, values: list[float]) -> list[tuple[float, float]]:
    return [detector.update(t, value) for t, value in zip(times(values), values, strict=True)]


def eventful(days: int = 5) -> list[float]:
    values = season(days)
    for row, by in ((DAY + 90, 40.0), (2 * DAY, -25.0), (3 * DAY + 7, 300.0)):
        values[row] += by
    return values


@pytest.mark.parametrize(("a", "b"), [(1.8, 32.0), (-0.001, 5.0), (1000.0, 1e6), (-1.0, 0.0)])
def test_other_units_give_the_same_scores(a, b):
    values = eventful()
    other = scores(Detector(), [a * value + b for value in values])

    assert np.allclose(other, scores(Detector(), values), rtol=1e-6, atol=1e-9)


def test_other_days_give_the_same_scores():
    values = eventful()
    moved, here = Detector(), Detector()
    pairs = [
        (moved.update(t + 86_400 * 1234, v), here.update(t, v))
        for t, v in zip(times(values), values, strict=True)
    ]

    assert all(one == other for one, other in pairs)


@pytest.mark.parametrize("cut", [0, 1, 49, 51, 700])
def test_a_saved_and_restored_detector_goes_on_as_before(cut):
    values = eventful()
    whole, first = Detector(), Detector()
    expected = scores(whole, values)
    for t, value in zip(times(values)[:cut], values[:cut], strict=True):
        first.update(t, value)
    saved, pickled = Detector.restore(first.save()), pickle.loads(pickle.dumps(first))

    rest = list(zip(times(values), values, strict=True))[cut:]
    assert [saved.update(t, v) for t, v in rest] == expected[cut:]
    assert [pickled.update(t, v) for t, v in rest] == expected[cut:]
    assert saved.save() == pickled.save() == whole.save()


def test_a_state_is_a_few_kilobytes_and_does_not_grow():
    few, many = Detector(), Detector()
    scores(few, noise(1))
    scores(many, season(30))

    assert len(few.save()) == len(many.save()) < 8_192


@pytest.mark.parametrize(
    "saved",
    [b"", b"\x01", b"\x02" + Detector().save()[1:], Detector().save()[:-1], Detector().save()[:-8]],
    ids=["empty", "only a version", "another version", "half a number", "a number short"],
)
def test_a_state_that_is_none_is_refused(saved):
    with pytest.raises(ValueError, match="state"):
        Detector.restore(saved)


def test_a_state_of_other_constants_is_refused():
    with pytest.raises(ValueError, match="constants"):
        Detector.restore(Detector(Constants(slots=(24,))).save())


def test_a_state_with_numbers_that_are_none_is_refused():
    saved = bytearray(Detector().save())
    saved[1:9] = b"\xff" * 8

    with pytest.raises(ValueError, match="numbers"):
        Detector.restore(bytes(saved))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ANYTHING, ANYTHING), max_size=120))
def test_whatever_comes_the_scores_are_finite_numbers_and_nothing_is_raised(samples):
    one = Detector()
    scores(one, noise(1)[:60])
    for t, value in samples:
        alert, raw = one.update(t, value)
        assert 0 <= alert <= 1
        assert math.isfinite(raw)
        assert raw >= 0
    Detector.restore(one.save())


def test_a_missing_value_changes_nothing():
    values = eventful()
    plain, gappy = Detector(), Detector()
    expected = scores(plain, values)
    got = []
    for t, value in zip(times(values), values, strict=True):
        assert gappy.update(t + 1, math.nan)[0] == 0.0
        got.append(gappy.update(t, value))

    assert got == expected


def test_time_that_goes_backwards_repeats_or_is_missing_does_not_hide_a_spike():
    one, values = Detector(), noise(4)
    wild = [t if i % 5 else (math.nan, 0.0, t - 1e6, -t)[i // 5 % 4] for i, t in enumerate(times(values))]
    told = [one.update(t, value)[0] for t, value in zip(wild, values, strict=True)]

    assert max(told[DAY:]) < 0.3
    assert one.update(wild[-1], 80.0)[0] > 0.9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 0.3, 1.0]))
def test_a_bank_is_bit_for_bit_its_streams_one_by_one(seed, streams, forecast_weight):
    constants = Constants(forecast_weight=forecast_weight)
    chance = np.random.default_rng(seed)
    rows = 400
    values = chance.normal(size=(rows, streams)) * chance.uniform(0.01, 1e4, streams)
    values[chance.random(values.shape) < 0.03] = np.nan
    values[chance.random(values.shape) < 0.01] *= 30
    values[200:, 0] = 7.0
    said = np.where(chance.random(values.shape) < 0.5, values * 0.9, np.nan)
    clock = 1e9 + np.arange(rows)[:, None] * 1800.0 + chance.integers(-9000, 9000, values.shape)
    bank, single = Bank(streams, constants), [Detector(constants) for _ in range(streams)]

    for i in range(rows):
        alerts, raws = bank.step(clock[i], values[i], said[i])
        alone = [d.update(clock[i, j], values[i, j], said[i, j]) for j, d in enumerate(single)]
        assert alone == list(zip(alerts.tolist(), raws.tolist(), strict=True))
    assert [bank.detector(j).save() for j in range(streams)] == [d.save() for d in single]


def test_a_stream_moves_between_a_bank_and_a_detector_of_its_own():
    values = eventful()
    expected = scores(Detector(), values)
    half = len(values) // 2
    one = Detector()
    for t, value in zip(times(values)[:half], values[:half], strict=True):
        one.update(t, value)
    bank = Bank(3)
    bank.put(1, one)
    rest = [
        bank.step(t, [math.nan, v, 0.0]) for t, v in zip(times(values)[half:], values[half:], strict=True)
    ]

    assert [(alerts[1], raws[1]) for alerts, raws in rest] == expected[half:]
    assert bank.learning.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"forget": 0.0},
        {"mute": 0},
        {"slots": ()},
        {"caps": (0.0,)},
        {"level_gain": 1.5},
        {"forecast_weight": -1.0},
    ],
)
def test_constants_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Constants(**wrong)
