import asyncio

import pytest

from iotistic.simulation.f2.fleet import controller_mac
from iotistic.simulation.f2.pace import ConnectGate, Pace
from iotistic.simulation.f2.tally import Tally


def rounds_in(pace, seconds, *, messages=8, step_s=0.02):
    done = 0
    for tick in range(round(seconds / step_s) + 1):
        pace.pass_time(tick * step_s)
        while pace.due:
            pace.spend(messages)
            done += 1
    return done


def test_rounds_are_spread_over_the_interval():
    assert rounds_in(Pace(rounds_per_s=100), 1) == pytest.approx(100, abs=1)
    assert rounds_in(Pace(rounds_per_s=100), 0.1) == pytest.approx(10, abs=1)


def test_a_rate_counts_messages():
    assert rounds_in(Pace(messages_per_s=800), 10, messages=8) == pytest.approx(1000, abs=2)


def test_a_pause_is_not_followed_by_a_flood():
    pace = Pace(rounds_per_s=100, most_behind_s=2)
    pace.pass_time(0)
    pace.pass_time(3600)
    done = 0
    while pace.due:
        pace.spend(1)
        done += 1

    assert done == 200


def test_a_very_slow_pace_comes_to_its_round_all_the_same():
    assert rounds_in(Pace(rounds_per_s=0.1), 30, step_s=0.5) in (2, 3)


async def test_the_gate_bounds_attempts_under_way():
    gate = ConnectGate(per_second=1e6, at_once=2)
    await gate.enter()
    await gate.enter()
    third = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waited = not third.done()
    gate.leave()
    await asyncio.wait_for(third, 1)

    assert waited


async def test_the_gate_spaces_attempts():
    gate = ConnectGate(per_second=200, at_once=100)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(gate.enter() for _ in range(21)))

    assert asyncio.get_running_loop().time() - started >= 0.099


async def test_a_cancelled_wait_gives_its_place_back():
    gate = ConnectGate(per_second=0.1, at_once=1)
    await gate.enter()
    gate.leave()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert not gate._turns.locked()


def test_macs_count_up_from_the_first():
    assert [controller_mac(number) for number in (0, 3, 9999)] == [
        "aabbccddee01",
        "aabbccddee04",
        "aabbccde1510",
    ]


def test_the_summary_has_units_and_needs_no_connection():
    tally = Tally(controllers=2)
    tally.connected_one(again=False)
    unfinished = tally.summary()["connect_s"]
    tally.connected_one(again=False)
    tally.connected_one(again=True)
    summary = tally.summary()

    assert unfinished is None
    assert summary["connect_s"] is not None
    assert (summary["connected"], summary["reconnects"]) == (3, 1)
    assert summary["memory_bytes"] > 0
