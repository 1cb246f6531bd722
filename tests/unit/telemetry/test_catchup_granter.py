"""Grants: never more than the window, everybody's turn comes, and nothing that happens to anybody is for good."""

import pytest
from catchup_world import Device, World, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from iotistic.telemetry.catchup.granter import LINE_FULL, NOT_YET, Granter
from iotistic.telemetry.catchup.loads import Situation, Trouble

WELL = Situation(live_delay_s=0.01)
AWAY = Trouble("catchup.away", "ingest-0: the database cannot be reached")
devices = st.builds(Device, held=st.integers(0, 200), a_step=st.integers(1, 20))
fleets = st.lists(devices, min_size=1, max_size=30)


def granter(**given):
    made = Granter(settings(**given), lambda: 0.0)
    made.observe(WELL, 0.0)
    return made


def told(answers):
    return {answer.mac: answer.grant.grant for answer in answers}


@hypothesis_settings(max_examples=30, deadline=None)
@given(fleets, st.floats(0.1, 2.0), st.integers(10, 500))
def test_no_more_than_the_window_is_under_way_and_all_is_stored_in_the_end(fleet, latency_s, window):
    world = World(fleet, latency_s=latency_s, catchup_window=window)
    held = world.held
    world.settle()

    assert (world.held, world.stored) == (0, held)
    assert world.most_under_way <= 1
    assert world.granter.outstanding == 0
    assert world.granter.given_up == 0


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 8))
def test_whoever_waits_longest_is_next_and_all_get_what_they_need(count, turns):
    world = World([Device(turns * 10, 10) for _ in range(count)], catchup_window=30)
    world.settle()

    assert world.jumped == []
    assert {device.turns for device in world.devices.values()} == {turns}


@hypothesis_settings(max_examples=30, deadline=None)
@given(fleets, st.lists(st.floats(0.1, 20), max_size=5))
def test_a_granter_that_dies_again_and_again_loses_nothing(fleet, pauses):
    world = World(fleet)
    held = world.held
    for pause_s in pauses:
        world.run(pause_s)
        world.restart()
    world.settle()

    assert (world.held, world.stored) == (0, held)


@hypothesis_settings(max_examples=30, deadline=None)
@given(fleets, st.data())
def test_devices_that_vanish_with_what_they_were_granted_hold_up_nobody_for_long(fleet, data):
    gone = data.draw(st.sets(st.integers(0, len(fleet) - 1)))
    world = World(fleet, catchup_window=20)
    world.run(data.draw(st.floats(0, 5)))
    for name in gone:
        world.devices[name].there = False
    world.settle()

    assert [device.held for name, device in world.devices.items() if name not in gone and device.held] == []
    assert world.most_under_way <= 1
    assert world.granter.outstanding == 0
    assert (world.granter.leases, world.granter.waiting) == (0, 0)


def test_a_device_that_vanished_gives_its_lease_back_by_its_end_and_its_messages_a_moment_later():
    given = granter(catchup_window=10)
    assert told(given.hear("a", 50, 1.0)) == {"a": 10}
    assert told(given.hear("b", 50, 1.5)) == {"b": 0}

    assert given.due(3.9) == []
    assert given.leases == 1
    given.due(4.1)
    assert given.leases == 0
    given.observe(WELL, 10.0)
    assert told(given.due(10.0)) == {"b": 10}


def test_who_asks_first_is_served_first_and_asking_again_keeps_the_place():
    given = granter(catchup_window=10)
    given.hear("a", 10, 1.0)
    given.hear("b", 10, 2.0)
    given.hear("c", 10, 2.1)
    given.hear("b", 10, 2.2)
    given.observe(Situation(stored=10), 2.5)

    assert told(given.due(2.5)) == {"b": 10}


def test_a_question_that_crossed_with_its_grant_is_not_answered_twice():
    given = granter()
    assert told(given.hear("a", 50, 1.0)) == {"a": 10}

    assert given.hear("a", 50, 1.5) == []
    assert given.outstanding == 10
    assert told(given.hear("a", 50, 6.0)) == {"a": 10}
    assert given.outstanding == 10


def test_a_device_is_granted_no_more_than_it_holds_and_is_done_when_it_says_so():
    given = granter()

    assert told(given.hear("a", 3, 1.0)) == {"a": 3}
    assert given.hear("a", 0, 2.0) == []
    assert (given.leases, given.waiting, given.outstanding) == (0, 0, 3)


def test_a_refusal_says_why_and_when_and_the_grant_may_come_before_that():
    given = granter(catchup_window=10)
    given.hear("a", 10, 1.0)
    refusal = given.hear("b", 10, 1.0)[0]

    assert (refusal.code, refusal.grant.grant) == (NOT_YET, 0)
    assert refusal.grant.reason == "catchup.not_your_turn: 0 devices are before this one"
    assert refusal.grant.retry_after_s >= 5
    given.hear("a", 0, 1.5)
    given.observe(Situation(stored=10), 2.0)
    assert told(given.due(2.0)) == {"b": 10}


def test_the_line_is_bounded_and_says_so():
    given = granter(catchup_window=10, catchup_queue=2)
    answers = [given.hear(mac, 10, 1.0)[0] for mac in "abcd"]

    assert [answer.code for answer in answers] == ["", NOT_YET, NOT_YET, LINE_FULL]
    assert given.waiting == 2


def test_places_of_devices_that_did_not_ask_again_go_to_others():
    given = granter(catchup_window=10, catchup_queue=2)
    for mac in "abc":
        given.hear(mac, 10, 1.0)

    assert [answer.code for answer in given.hear("d", 10, 100.0)] == [NOT_YET]
    assert given.waiting == 1


@pytest.mark.parametrize("trouble", [AWAY, Trouble("catchup.no_backlog_worker", "no worker says")])
def test_nothing_is_granted_while_something_is_away_and_devices_hear_what(trouble):
    given = granter()
    given.observe(Situation(trouble), 1.0)
    refusal = given.hear("a", 50, 1.0)[0]

    assert (refusal.code, refusal.grant.grant) == (trouble.code, 0)
    assert refusal.grant.reason == f"{trouble.code}: {trouble.words}"
    given.observe(WELL, 2.0)
    assert told(given.due(2.0)) == {"a": 10}


def test_before_the_workers_are_heard_nothing_is_granted():
    refusal = Granter(settings(), lambda: 0.0).hear("a", 50, 1.0)[0]

    assert (refusal.code, refusal.grant.grant) == ("catchup.starting", 0)


def test_the_more_wait_the_less_often_they_are_to_ask():
    given = granter(catchup_window=10, catchup_chunk=10)
    waits = [given.hear(mac, 10, 1.0)[0].grant.retry_after_s for mac in range(10_000)]

    assert waits[1] < 10
    assert waits[-1] > 90


def test_the_wait_is_estimated_from_what_is_stored_a_second():
    given = granter(catchup_window=10)
    for mac in range(200):
        given.hear(mac, 10, 1.0)
    for look in range(40):
        given.observe(Situation(stored=5), 1.0 + look / 10)

    assert given.hear("last", 10, 5.0)[-1].grant.retry_after_s == pytest.approx(200 * 10 / 50, rel=0.1)


def test_live_readings_that_get_slow_halve_what_may_be_under_way_and_it_grows_again():
    world = World([Device(100_000, 100) for _ in range(60)], catchup_chunk=10, catchup_window=2000)
    world.run(30)
    wide = world.granter.window
    world.live_delay_s = 0.5
    world.run(2)
    narrow = world.granter.window
    world.live_delay_s = 0.02
    world.run(30)

    assert wide > 400
    assert narrow <= wide / 2
    assert world.granter.window > narrow


def test_live_readings_may_take_twice_as_long_as_they_used_to():
    given = granter(catchup_live_delay_s=0.1)
    assert given.live_limit_s == 0.1
    for look in range(20):
        given.observe(Situation(live_delay_s=0.2), look / 2)

    assert given.live_limit_s == pytest.approx(0.4)


def test_what_a_machine_does_now_and_then_is_not_what_is_usual():
    given = granter(catchup_live_delay_s=0.1)
    for look in range(60):
        given.observe(Situation(live_delay_s=3.0 if look % 5 == 0 else 0.1), look / 2)

    assert given.live_limit_s == pytest.approx(0.2)


def test_a_lane_that_takes_messages_and_stores_none_gets_the_least_until_it_does():
    world = World([Device(10_000, 10) for _ in range(20)], catchup_window=2000)
    world.run(30)
    wide = world.granter.window
    world.latency_s = 1e9  # and no report says so, as of a stage in the middle
    entered = world.held
    world.granter.observe(Situation(), world.now)
    for _ in range(200):
        world.latency_s = 1e9
        world.step()
        world.granter.observe(Situation(live_delay_s=0.01), world.now)

    assert wide > 100
    assert world.granter.window == 10
    assert entered - world.held < 2 * wide
