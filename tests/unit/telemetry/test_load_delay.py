"""What a process says of its delay: the longest within a second, and the truth when nothing commits at all."""

import time

import numpy as np
import pytest

from iotistic.telemetry.catchup.reporting import REPORT_EVERY_S, DelayWatch, Meter
from iotistic.telemetry.model import Deliveries, Resolved, no_rows


class Stage:
    """A stage under a clock of its own."""

    def __init__(self):
        self.now = 100.0
        self.idle = True
        self.meter = Meter()
        self.watch = DelayWatch(self.meter, lambda: self.idle, lambda: self.now)

    def look(self, *batches):
        for batch in batches:
            self.meter.committed(batch)
        self.now += REPORT_EVERY_S
        return self.watch.look()


class Onward:
    def __init__(self):
        self.heard = []

    def committed(self, batch):
        self.heard.append(batch)


def batch(age_s=0.0, stamped=0):
    numbers = np.arange(stamped, dtype=np.int64)
    deliveries = Deliveries(["mac:aabbccddee01"] * stamped, numbers, numbers) if stamped else None
    return Resolved(no_rows(), [], [], time.time_ns() // 1000 - int(age_s * 1e6), deliveries)


@pytest.fixture
def stage():
    return Stage()


def test_the_longest_delay_is_told_for_a_second_and_then_forgotten(stage):
    assert stage.look(batch(0.2), batch(3), batch(0.1)) == pytest.approx(3, abs=0.1)
    assert stage.look(batch(0.2)) == pytest.approx(3, abs=0.1)
    assert stage.look() == pytest.approx(0.2, abs=0.1)
    assert stage.look() == 0


def test_a_stage_that_holds_messages_and_stores_none_is_slower_with_every_look(stage):
    stage.idle = False
    delays = [stage.look() for _ in range(5)]

    assert delays == [REPORT_EVERY_S * look for look in range(5)]


def test_a_stage_that_is_always_busy_and_stores_is_as_slow_as_its_batches(stage):
    stage.idle = False
    delays = [stage.look(batch(0.1)) for _ in range(10)]

    assert max(delays) < REPORT_EVERY_S


def test_a_clock_that_was_set_back_gives_no_negative_delay(stage):
    assert stage.look(batch(-60)) == 0


def test_stamped_messages_are_counted_and_whoever_else_listens_hears_of_every_batch():
    onward = Onward()
    meter = Meter(onward)
    batches = [batch(), batch(stamped=3)]
    for one in batches:
        meter.committed(one)

    assert meter.stamped == 3
    assert onward.heard == batches
