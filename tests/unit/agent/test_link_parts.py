"""Small parts of the link: filters, doors, refusals, intervals, tolls."""

import statistics

import pytest

from iotistic.agent.link.budget import Budget, Purpose
from iotistic.agent.link.doors import Door
from iotistic.agent.link.filters import Handlers, matches
from iotistic.agent.link.pacing import Pace, seldom_while
from iotistic.agent.link.refusals import Refusals
from iotistic.agent.link.tolls import Tolls
from iotistic.kernel.mqtt.lean_model import Traffic


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+/+", "/a", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "b/a", False),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("a/+/c", "a/b/c", True),
        ("a.b", "a+b", False),
    ],
)
def test_filters_mean_what_the_standard_says(topic_filter, topic, expected):
    assert matches(topic_filter, topic) is expected


def test_a_handler_that_fails_costs_no_other_its_message():
    heard = []
    handlers = Handlers()
    handlers.add("a", lambda _topic, _payload: 1 / 0)
    handlers.add("a", lambda topic, payload: heard.append((topic, payload)))
    handlers.hear(b"a", b"1")
    handlers.hear(b"\xff", b"2")

    assert heard == [("a", b"1")]
    assert handlers.subscriptions == (("a", 1),)


class Corridor:
    """Notes for how long a door made its device wait."""

    def __init__(self, name, spread_s=30.0):
        self.now, self.waits = 100.0, []
        self.door = Door(name, lambda: self.now, lambda: 0.5, spread_s=spread_s, sleep=self.sleep)

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


async def test_the_first_time_nobody_waits_and_after_an_outage_a_fleet_is_spread():
    waits = []
    for number in range(2000):
        corridor = Corridor(f"device_{number}")
        await corridor.door.enter()
        assert corridor.waits == []
        corridor.door.lost()
        await corridor.door.enter()
        waits += corridor.waits
    in_one_second = [sum(second <= one < second + 1 for one in waits) for second in range(30)]

    assert max(in_one_second) < 2 * statistics.mean(in_one_second)
    assert max(waits) <= 30


async def test_refusals_are_waited_for_longer_and_longer_until_the_door_opens():
    corridor = Corridor("device_1", spread_s=0)
    for _ in range(8):
        corridor.door.refused()
        await corridor.door.enter()
    corridor.door.welcomed()
    corridor.door.refused()
    await corridor.door.enter()

    assert corridor.waits == [15, 30, 60, 120, 240, 480, 900, 900, 15]


def test_an_interval_may_change_with_the_connection():
    online = [True]
    pace = Pace("device_1", seldom_while(lambda: online[0], otherwise_s=60, seldom_s=900))
    seldom = pace.succeeded(1e9) - 1e9
    online[0] = False
    often = [pace.succeeded(1e9 + second) - 1e9 - second for second in range(0, 900, 7)]

    assert 0 < seldom <= 900
    assert max(often) <= 60


def test_a_refused_topic_is_tried_with_one_message_and_later_each_time():
    refusals = Refusals()
    assert refusals.may_send("a", 0)
    assert refusals.refused("a", 0, 0.5)
    assert not refusals.refused("a", 0, 0.5)  # was under way together with the first

    assert refusals.next_at == 15
    assert not refusals.may_send("a", 14)
    assert refusals.may_send("b", 14)
    assert [refusals.may_send("a", 15), refusals.may_send("a", 15)] == [True, False]
    refusals.refused("a", 16, 0.5)
    assert refusals.next_at == 46
    assert refusals.may_send("a", 46)
    assert refusals.accepted("a")
    assert (refusals.may_send("a", 47), refusals.next_at, len(refusals)) == (True, None, 0)


def test_what_is_no_message_counts_as_control():
    budget, traffic = Budget(), Traffic()
    tolls = Tolls(budget)
    tolls.begin(traffic)
    tolls.sent(Purpose.TELEMETRY, 100)
    traffic.sent, traffic.received = 130, 20
    tolls.answered(Purpose.TELEMETRY)
    traffic.sent += 2
    tolls.settle()
    tolls.settle()

    assert (budget.sent[Purpose.TELEMETRY], budget.received[Purpose.TELEMETRY]) == (100, 4)
    assert (budget.sent[Purpose.CONTROL], budget.received[Purpose.CONTROL]) == (32, 16)
    assert budget.total == traffic.sent + traffic.received
