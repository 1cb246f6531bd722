import numpy as np
import pytest

from iotistic.telemetry.live.frames import EventsFrame, LiveEvent, ReadingsFrame
from iotistic.telemetry.live.subscription import LiveFilter, Subscription


def batch(*rows: tuple[int, int], at: int = 0) -> ReadingsFrame:
    return ReadingsFrame(
        committed_at_us=at,
        timestamps=np.arange(len(rows), dtype=np.int64),
        device_ids=np.array([device for device, _ in rows], np.int32),
        datapoint_ids=np.array([datapoint for _, datapoint in rows], np.int32),
        values=np.arange(len(rows), dtype=np.float64),
    )


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        (LiveFilter(), [0, 1, 2, 3]),
        (LiveFilter(device_ids=frozenset({1})), [0, 1]),
        (LiveFilter(device_ids=frozenset({1, 3})), [0, 1, 3]),
        (LiveFilter(datapoint_ids=frozenset({7})), [0, 2]),
        (LiveFilter(device_ids=frozenset({1}), datapoint_ids=frozenset({8, 9})), [1]),
    ],
)
async def test_only_rows_that_were_asked_for_arrive(wanted: LiveFilter, values: list[float]):
    subscription = Subscription(wanted)
    subscription.offer(batch((1, 7), (1, 8), (2, 7), (3, 9)))

    delivery = await subscription.take(within_s=1)

    assert delivery is not None
    assert [value for frame in delivery.readings for value in frame.values] == values


async def test_nothing_asked_for_wakes_nobody():
    subscription = Subscription(LiveFilter(device_ids=frozenset({5})))
    subscription.offer(batch((1, 7)))
    subscription.offer(EventsFrame(0, [LiveEvent(0, 1, 7, "card")]))

    assert await subscription.take(within_s=0.01) is None


async def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many():
    subscription = Subscription(LiveFilter(), queue_rows=5)
    for at in range(4):
        subscription.offer(batch((1, 7), (2, 7), at=at))

    delivery = await subscription.take(within_s=1)

    assert delivery is not None
    assert delivery.dropped == 4
    assert [frame.committed_at_us for frame in delivery.readings] == [2, 3]
    assert await subscription.take(within_s=0.01) is None


async def test_text_readings_pass_the_same_filter():
    subscription = Subscription(LiveFilter(device_ids=frozenset({2})))
    subscription.offer(EventsFrame(0, [LiveEvent(0, 1, 7, "one"), LiveEvent(0, 2, 7, "two")]))

    delivery = await subscription.take(within_s=1)

    assert delivery is not None
    assert [event.value for event in delivery.events] == ["two"]


async def test_rows_lost_on_the_way_are_told_even_when_nothing_follows():
    subscription = Subscription(LiveFilter())
    subscription.lose(12)

    delivery = await subscription.take(within_s=1)

    assert delivery is not None
    assert delivery.dropped == 12


async def test_closing_ends_the_wait():
    subscription = Subscription(LiveFilter())
    subscription.close()

    assert await subscription.take(within_s=5) is None
