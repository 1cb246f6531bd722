"""What the rollout benchmark makes of devices' answers."""

import pytest
from benchmarks.framework import Report
from benchmarks.rollout_errors import compare

from iotistic.control.rollouts.writing import compared


def part(predicted, actual):
    return {"predicted": predicted, "actual": actual, "compared": compared(predicted, actual)}


def test_steps_and_downtime_are_compared_device_by_device():
    right = {"steps": {"fetch": 1, "kill": 1}, "downtimeS": {"7/1": 4.0}}
    more = {"steps": {"fetch": 2, "kill": 1, "start": 1}, "downtimeS": {"7/1": 5.0}, "complete": True}
    untold = part(right, {})
    report = Report()
    compare([part(right, {**right, "complete": True}), part(right, more), untold], report)

    found = {one.name: one.value for one in report.results}
    assert found["devices whose steps were told in full"] == pytest.approx(200 / 3)
    assert found["predicted against actual steps, mean error"] == 25.0
    assert found["predicted against actual downtime, mean error"] == 10.0
    assert found["downtime of all devices together, error"] == pytest.approx(100 / 9)


def test_what_is_too_long_for_one_service_makes_up_for_nothing_at_another():
    predicted = {"steps": {"kill": 2}, "downtimeS": {"7/1": 6.0, "7/2": 2.0}}
    actual = {"steps": {"kill": 2}, "downtimeS": {"7/1": 4.0, "7/2": 4.0}}

    assert compared(predicted, actual)["downtimeErrorPercent"] == 50.0


def test_a_downtime_is_within_its_range_or_it_is_not():
    told = {"steps": {"kill": 1}, "downtimeS": {"7/1": 4.0}, "downtimeRangeS": {"7/1": [3.5, 5.0]}}
    found = [
        compared(told, {"steps": {"kill": 1}, "downtimeS": {"7/1": seconds}})["downtimeWithinRange"]
        for seconds in (3.4, 4.9)
    ]

    assert found == [False, True]


def test_a_story_that_is_not_whole_is_compared_with_nothing():
    assert compared({"steps": {"kill": 1}}, {"steps": {"kill": 1}, "complete": False}) is None
