import itertools

from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.mqtt.lean_model import Backoff
from iotistic.kernel.mqtt.outbox import Outbox, Outgoing
from iotistic.kernel.mqtt.packets import PacketReader


def message(number, qos=1):
    return Outgoing(b"t", str(number).encode(), qos)


def box_of(*numbers, limit=100):
    box = Outbox(limit=limit)
    for number in numbers:
        box.offer(message(number))
    return box


def read(data):
    return [(packet.packet_id, packet.payload, packet.dup) for packet in PacketReader().feed(data)]


def test_no_more_than_the_window_is_in_flight():
    box = box_of(1, 2, 3)

    assert read(box.take(2)) == [(1, b"1", False), (2, b"2", False)]
    assert box.take(2) == b""
    assert len(box) == 3


def test_an_acknowledgement_makes_room_for_the_next():
    box = box_of(1, 2, 3)
    box.take(2)

    assert box.settle(1) == message(1)
    assert read(box.take(2)) == [(3, b"3", False)]


def test_what_was_not_acknowledged_is_sent_again_in_its_order():
    box = box_of(1, 2, 3)
    box.take(3)
    box.settle(2)

    assert read(box.repeat(dup=True)) == [(1, b"1", True), (3, b"3", True)]
    assert read(box.repeat(dup=False)) == [(1, b"1", False), (3, b"3", False)]


def test_an_acknowledgement_of_nothing_is_passed_over():
    assert box_of(1).settle(1) is None


def test_a_full_box_takes_no_more_until_something_is_settled():
    box = box_of(1, 2, limit=2)
    refused = box.offer(message(3))
    box.take(1)
    box.settle(1)

    assert not refused
    assert box.offer(message(3))


def test_messages_of_qos_0_are_not_held_up_by_the_window():
    box = box_of(1)
    box.take(1)
    box.offer(message(2, qos=0))

    assert read(box.take(1)) == [(None, b"2", False)]
    assert len(box) == 1


def test_packet_identifiers_go_round_without_meeting_one_in_flight():
    box = Outbox(limit=10)
    box.offer(message(0))
    box.take(1)
    seen = set()
    for number in range(70_000):
        box.offer(message(number))
        packet_id = read(box.take(2))[0][0]
        seen.add(packet_id)
        box.settle(packet_id)

    assert 1 not in seen
    assert max(seen) == 0xFFFE


@given(st.lists(st.sampled_from(["offer", "take", "settle", "lose"]), max_size=60))
def test_whatever_happens_each_message_is_settled_once_and_in_order(steps):
    box, numbers, in_flight, settled = Outbox(limit=1000), itertools.count(), [], []
    acts = {
        "offer": lambda: box.offer(message(next(numbers))),
        "take": lambda: in_flight.extend(read(box.take(3))),
        "settle": lambda: [settled.append(box.settle(one[0])) for one in in_flight[:1]] and in_flight.pop(0),
        "lose": lambda: in_flight.__setitem__(slice(None), read(box.repeat(dup=True))),
    }
    for step in steps:
        acts[step]()

    assert settled == [message(number) for number in range(len(settled))]
    assert len(box) + len(settled) == next(numbers)


def test_the_wait_before_a_new_attempt_grows_and_is_spread_over_its_whole_length():
    class Chance:
        def uniform(self, low, high):
            return low, high

    backoff = Backoff(base_s=1, longest_s=30)

    assert [backoff.wait_s(attempt, Chance()) for attempt in (0, 1, 4, 5, 5000)] == [
        (0, 1),
        (0, 2),
        (0, 16),
        (0, 30),
        (0, 30),
    ]


def test_what_is_taken_back_comes_in_its_order_and_is_not_sent_again():
    box = box_of(1, 2, 3, 4)
    box.take(2)
    box.settle(1)

    assert box.clear() == [message(2), message(3), message(4)]
    assert (len(box), box.repeat(dup=True), box.take(9)) == (0, b"", b"")
