"""The comparison of updated devices with those that wait: how often it is wrong, and how soon it is right."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.control.rollouts.sequential import Seen, at_most, compare


def halted_at(chance, *, updated, waiting, devices, control=500, rate=0.01, tolerated=0.02):
    """Return after how many updated devices a rollout was halted, None for never."""
    others = Seen(sum(chance.random() < waiting for _ in range(control)), control)
    failed = 0
    for count in range(1, devices + 1):
        went_wrong = chance.random() < updated
        failed += went_wrong
        # Another that went well halts nothing that was not halted before.
        if (
            went_wrong
            and compare(Seen(failed, count), others, false_halt_rate=rate, tolerated=tolerated).halts
        ):
            return count
    return None


@pytest.mark.parametrize("usual", [0.0, 0.01, 0.05, 0.2])
def test_a_harmless_release_is_halted_no_more_often_than_promised(usual):
    chance = random.Random(7)
    runs = 120

    halts = sum(
        halted_at(chance, updated=usual, waiting=usual, devices=100, rate=0.05) is not None
        for _ in range(runs)
    )

    assert halts / runs <= 0.05


def test_a_release_that_always_fails_is_halted_within_three_devices():
    assert halted_at(random.Random(1), updated=1.0, waiting=0.01, devices=20) <= 3


@pytest.mark.parametrize(("share", "median"), [(0.5, 6), (0.2, 25)])
def test_the_worse_a_release_the_sooner_it_is_halted(share, median):
    chance = random.Random(3)

    delays = sorted(halted_at(chance, updated=share, waiting=0.0, devices=400) or 400 for _ in range(41))

    assert delays[20] <= median


def test_a_release_that_fails_as_often_as_everything_else_goes_on():
    assert not compare(Seen(10, 50), Seen(100, 500), false_halt_rate=0.01, tolerated=0.02).halts


def test_without_anybody_to_compare_with_what_is_tolerated_is_usual():
    found = compare(Seen(1, 10), Seen(0, 0), false_halt_rate=0.01, tolerated=0.05)

    assert found.usual == 0.05
    assert not found.halts


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.0001, 0.2))
def test_what_a_share_may_be_at_most_is_no_less_than_it_is(failed, well, risk):
    seen = Seen(failed, failed + well)

    assert seen.share - 1e-9 <= at_most(seen, risk) <= 1.0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 200), st.integers(20, 300))
def test_one_more_failure_never_speaks_for_a_release(failed, well, others_failed, others):
    control = Seen(min(others_failed, others), others)
    before = compare(Seen(failed, failed + well + 1), control, false_halt_rate=0.01, tolerated=0.02)
    after = compare(Seen(failed + 1, failed + well + 1), control, false_halt_rate=0.01, tolerated=0.02)

    assert after.halts or not before.halts
