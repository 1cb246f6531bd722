"""What a simulated controller keeps, forgets and sends again."""

from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.delivery import Confirmation, ResendAnswer, ResendRequest
from iotistic.simulation.f2.kept import Kept

TAKEN, FULL = True, False


def kept_with(count, *, limit=100, settled=True):
    kept = Kept(7, limit=limit)
    for number in range(1, count + 1):
        stamp = kept.next_stamp
        kept.sent(b"t", str(number).encode())
        if settled:
            kept.settled(stamp)
    return kept


class Wire:
    def __init__(self, room=1000):
        self.room = room
        self.sent = []

    def __call__(self, topic, payload, stamp):
        if len(self.sent) == self.room:
            return FULL
        self.sent.append((int(payload), stamp))
        return TAKEN


def test_numbers_begin_at_one_and_grow_by_one():
    kept = kept_with(2)

    assert kept.next_stamp == (("epoch", "7"), ("seq", "3"))


def test_what_is_stored_is_forgotten_and_what_is_missing_is_not():
    kept = kept_with(9)

    assert kept.confirmed(Confirmation(7, 6, [(2, 3)])) == 4
    assert len(kept) == 5
    assert kept.confirmed(Confirmation(8, 9)) == 0


def test_what_is_asked_for_goes_out_again_with_the_stamp_it_had():
    kept, wire = kept_with(5), Wire()

    answer, count = kept.answer(ResendRequest(7, [(2, 3), (5, 5)]), wire)

    assert answer == ResendAnswer(7, again=[(2, 3), (5, 5)], gone=[])
    assert wire.sent == [(n, (("epoch", "7"), ("seq", str(n)))) for n in (2, 3, 5)]
    assert count == 3


def test_what_it_no_longer_has_and_other_epochs_are_gone():
    kept, wire = kept_with(10, limit=4), Wire()

    assert kept.answer(ResendRequest(7, [(1, 8), (11, 2**50)]), wire) == (
        ResendAnswer(7, again=[(7, 8)], gone=[(1, 6)]),
        2,
    )
    assert kept.answer(ResendRequest(6, [(1, 2**50)]), wire)[0] == ResendAnswer(6, gone=[(1, 2**50)])


def test_what_waits_for_its_acknowledgement_is_not_sent_twice():
    kept, wire = kept_with(3, settled=False), Wire()

    answer, count = kept.answer(ResendRequest(7, [(1, 3)]), wire)

    assert (answer.again, count, wire.sent) == ([(1, 3)], 0, [])


def test_what_does_not_fit_now_is_neither_sent_nor_gone():
    kept, wire = kept_with(5), Wire(room=2)

    assert kept.answer(ResendRequest(7, [(1, 5)]), wire)[0] == ResendAnswer(7, again=[(1, 2)], gone=[])


@given(
    st.integers(0, 30),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=4),
)
def test_every_number_asked_for_that_was_sent_is_sent_again_or_gone(count, limit, asked):
    ranges = [(first, first + more) for first, more in asked]
    answer, _ = kept_with(count, limit=limit).answer(ResendRequest(7, ranges), Wire())

    wanted = {n for first, last in ranges for n in range(first, last + 1) if n <= count}
    again, gone = (
        {n for first, last in spans for n in range(first, last + 1)} for spans in (answer.again, answer.gone)
    )
    assert again | gone == wanted
    assert not again & gone
