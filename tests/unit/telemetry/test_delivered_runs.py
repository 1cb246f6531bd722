"""Stamps of a batch as runs of consecutive numbers, whatever their order."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.model import Deliveries
from iotistic.telemetry.sink.delivered import find_runs

stamps = st.tuples(st.sampled_from(["mac:a", "mac:b", "key:c"]), st.integers(0, 2), st.integers(1, 12))


def deliveries(*delivered):
    sources, epochs, sequences = zip(*delivered, strict=True)
    return Deliveries(list(sources), np.array(epochs, np.int64), np.array(sequences, np.int64))


def told(runs):
    source, *numbers = runs
    return list(zip(source, *(column.tolist() for column in numbers), strict=True))


def test_messages_in_order_are_one_run_for_each_sender():
    runs = find_runs(deliveries(("b", 1, 1), ("a", 1, 7), ("b", 1, 2), ("a", 1, 8)))

    assert told(runs) == [("b", 1, 1, 2, 0), ("a", 1, 7, 8, 0)]


def test_gaps_epochs_and_repeats_are_told():
    runs = find_runs(deliveries(("a", 1, 5), ("a", 1, 1), ("a", 1, 2), ("a", 1, 2), ("a", 2, 1)))

    assert told(runs) == [("a", 1, 1, 2, 1), ("a", 1, 5, 5, 0), ("a", 2, 1, 1, 0)]


@given(st.lists(stamps, min_size=1, max_size=40))
def test_runs_hold_exactly_what_came_and_are_as_long_as_can_be(delivered):
    runs = told(find_runs(deliveries(*delivered)))
    covered = Counter((s, e, n) for s, e, first, last, _ in runs for n in range(first, last + 1))

    assert covered == Counter(set(delivered))
    assert sum(repeated for *_, repeated in runs) == len(delivered) - len(set(delivered))
    assert not {(s, e, last + 1) for s, e, _, last, _ in runs} & {(s, e, first) for s, e, first, *_ in runs}


def test_more_senders_than_small_numbers_can_tell_apart_are_kept_apart():
    many = [(f"key:{number}", 1, 1) for number in range(70_000)]

    assert told(find_runs(deliveries(*many))) == [(*one, 1, 0) for one in many]
