import numpy as np

from iotistic.telemetry.model import Deliveries, Messages, Stamps, concat_deliveries


def column(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def test_messages_that_are_split_keep_their_stamps():
    stamps = Stamps(column(7, -1, 7), column(1, -1, 2))
    before, behind = Messages([b"a", b"b", b"c"], [b"", b"", b""], 10, stamps).split(2)

    assert before.stamps is not None
    assert behind.stamps is not None
    assert before.stamps.sequence.tolist() == [1, -1]
    assert behind.stamps.epoch.tolist() == [7]


def test_messages_without_stamps_are_split_without():
    before, behind = Messages([b"a", b"b"], [b"", b""], 10).split(1)

    assert (before.stamps, behind.stamps) == (None, None)


def test_deliveries_are_joined_in_order_and_nothing_stays_nothing():
    joined = concat_deliveries(
        [Deliveries(["mac:a"], column(1), column(5)), None, Deliveries(["key:b"], column(2), column(6))]
    )

    assert joined is not None
    assert joined.source == ["mac:a", "key:b"]
    assert joined.epoch.tolist() == [1, 2]
    assert joined.sequence.tolist() == [5, 6]
    assert concat_deliveries([None, None]) is None
