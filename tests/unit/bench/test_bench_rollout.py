"""What the rollout benchmark makes of devices' answers."""

import pytest
from benchmarks.framework import Report
from benchmarks.rollout import _compare

from iotistic.control.rollouts.writing import compared


def part(predicted, actual):
    return {"compared": compared(predicted, actual)}


def test_steps_and_downtime_are_compared_device_by_device():
    right = {"steps": {"fetch": 1, "kill": 1}, "downtimeS": {"7/1": 4.0}}
    more = {"steps": {"fetch": 2, "kill": 1, "start": 1}, "downtimeS": {"7/1": 5.0}, "complete": True}
    untold = part(right, {})
    report = Report()
    _compare([part(right, {**right, "complete": True}), part(right, more), untold], report)

    found = {one.name: one.value for one in report.results}
    assert found["devices whose steps were told in full"] == pytest.approx(200 / 3)
    assert found["predicted against actual steps, mean error"] == 25.0
    assert found["predicted against actual downtime, mean error"] == 10.0


def test_a_story_that_is_not_whole_is_compared_with_nothing():
    assert compared({"steps": {"kill": 1}}, {"steps": {"kill": 1}, "complete": False}) is None
