"""Many streams by name: the same whether they are stepped one by one or together."""

import json
import random
import sys
from pathlib import Path

import pytest
from tests.unit.detection.made_streams import DAY, noise, times

from iotistic.detection.detector import Detector
from iotistic.detection.events import Method, Thresholds
from iotistic.detection.watches import THRESHOLDS, Sample, Watches


def fed(watches, values, stream="cpu"):
    """Return the alerts of one stream, each value in a step of its own."""
    return [
        alert
        for t, value in zip(times(values), values, strict=True)
        for alert in watches.step([Sample(stream, t, value)])
    ]


def test_the_thresholds_are_those_that_were_chosen_on_labelled_data():
    chosen = json.loads((Path(__file__).parents[3] / "benchmarks/detection.json").read_text())

    assert Thresholds(chosen["threshold"], chosen["raw_threshold"]) == THRESHOLDS


@pytest.mark.parametrize("bank_from", [1, 1000], ids=["bank", "singles"])
def test_a_spike_is_found_and_described(bank_from):
    watches, values = Watches(bank_from=bank_from), noise(3)
    values[-1] = 60.0
    alerts = [one for one in fed(watches, values) if one.value == 60.0]
    event = alerts[0].event()

    assert watches.is_banked == (bank_from == 1)
    assert (event.metric, event.value, event.method) == ("cpu", 60.0, alerts[0].event().method)
    assert event.method in Method
    assert event.expected_low < 20 < event.expected_high < 60
    assert alerts[0].event(factor=alerts[0].times + 1) is None
    assert alerts[0].event(factor=alerts[0].times / 2).score == pytest.approx(2.0)


def test_a_step_with_many_samples_of_one_stream_describes_each_by_what_was_known_then():
    one, all_at_once, values = Watches(), Watches(), noise(3)
    values[500], values[501] = 60.0, -40.0
    alone = [alert.event() for alert in fed(one, values)]
    samples = [Sample("cpu", t, value) for t, value in zip(times(values), values, strict=True)]
    together = [alert.event() for alert in all_at_once.step(samples)]

    assert together == alone
    assert len(alone) >= 2


def test_streams_that_become_many_are_moved_into_a_bank_and_go_on_bit_for_bit():
    chance = random.Random(4)
    moving, single = Watches(bank_from=20, most=80), Watches(bank_from=1000, most=80)
    for number in range(120):
        samples = [
            Sample(f"s{stream}", 1.8e9 + 60 * number, chance.gauss(stream, 1))
            for stream in range(min(80, 1 + number))
            if chance.random() < 0.8
        ]
        assert [one[:4] for one in moving.step(samples)] == [one[:4] for one in single.step(samples)]

    assert moving.is_banked
    assert not single.is_banked
    assert len(moving) == 80
    assert [moving.detector(name).save() for name in moving.names] == [
        single.detector(name).save() for name in moving.names
    ]
    assert moving.standing("s3") == single.standing("s3")


def test_without_numpy_they_stay_one_by_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "iotistic.detection.banked", None)
    watches = Watches(bank_from=3)
    watches.step([Sample(f"s{number}", 1.8e9, 1.0) for number in range(10)])

    assert len(watches) == 10
    assert not watches.is_banked


def test_what_there_is_no_room_for_is_counted_and_costs_the_others_nothing():
    watches = Watches(most=2)
    watches.step([Sample(name, 1.8e9, 1.0) for name in ("a", "b", "c")])

    assert watches.names == ("a", "b")
    assert watches.refused == 1
    assert not watches.put("d", Detector())


@pytest.mark.parametrize("bank_from", [1, 1000])
def test_a_stream_goes_on_from_a_saved_state(bank_from):
    values = noise(3)
    whole = Watches(bank_from=bank_from)
    fed(whole, values)
    again = Watches(bank_from=bank_from)
    again.put("cpu", Detector.restore(whole.detector("cpu").save()))

    assert again.standing("cpu") == whole.standing("cpu")
    assert not again.standing("cpu").learning
    assert again.standing("cpu").seen == 3 * DAY
    assert "cpu" in again
