"""What a simulated controller keeps, forgets and sends again."""

from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.delivery import Confirmation, ResendAnswer, ResendRequest, stamp_data
from iotistic.simulation.f2.kept import Kept

TAKEN, FULL = True, False


def kept_with(count, *, limit=100, settled=True):
    kept = Kept(7, limit=limit)
    for number in range(1, count + 1):
        kept.add(b"t", str(number).encode())
        if settled:
            kept.settled(number)
    return kept


class Wire:
    def __init__(self, kept, room=1000):
        self.kept = kept
        self.room = room
        self.sent = []

    def __call__(self, number):
        if len(self.sent) == self.room:
            return FULL
        self.sent.append((int(self.kept.message(number).payload), self.kept.stamp(number)))
        return TAKEN


def ask(kept, *ranges, epoch=7, room=1000, kept_back=()):
    wire = Wire(kept, room)
    return *kept.answer(ResendRequest(epoch, list(ranges)), wire, kept_back), wire.sent


def test_numbers_begin_at_one_and_grow_by_one():
    kept = kept_with(2)

    assert kept.next_number == 3
    assert kept.stamp(3) == stamp_data(7, 3)


def test_what_is_stored_is_forgotten_and_what_is_missing_is_not():
    kept = kept_with(9)

    assert kept.confirmed(Confirmation(7, 6, [(2, 3)])) == 4
    assert len(kept) == 5
    assert kept.confirmed(Confirmation(8, 9)) == 0


def test_what_is_asked_for_goes_out_again_with_the_stamp_it_had():
    answer, count, sent = ask(kept_with(5), (2, 3), (5, 5))

    assert answer == ResendAnswer(7, again=[(2, 3), (5, 5)], gone=[])
    assert sent == [(n, stamp_data(7, n)) for n in (2, 3, 5)]
    assert count == 3


def test_what_it_no_longer_has_and_other_epochs_are_gone():
    kept = kept_with(10, limit=4)

    assert ask(kept, (1, 8), (11, 2**50))[:2] == (ResendAnswer(7, again=[(7, 8)], gone=[(1, 6)]), 2)
    assert ask(kept, (1, 2**50), epoch=6)[0] == ResendAnswer(6, gone=[(1, 2**50)])


def test_what_waits_for_the_broker_is_not_sent_twice():
    answer, count, sent = ask(kept_with(3, settled=False), (1, 3))

    assert (answer.again, answer.waiting, count, sent) == ([(1, 3)], [], 0, [])


def test_what_waits_for_a_grant_is_said_to_wait():
    answer, count, sent = ask(kept_with(5, settled=False), (1, 4), kept_back={2, 3, 5})

    assert (answer.again, answer.waiting, answer.gone, count, sent) == ([(1, 1), (4, 4)], [(2, 3)], [], 0, [])


def test_what_was_sent_again_waits_until_the_broker_took_it():
    kept = kept_with(2)
    ask(kept, (1, 2))
    kept.settled(1)

    assert ask(kept, (1, 2))[2] == [(1, stamp_data(7, 1))]


def test_what_does_not_fit_now_is_neither_sent_nor_gone():
    assert ask(kept_with(5), (1, 5), room=2)[0] == ResendAnswer(7, again=[(1, 2)], gone=[])


def test_what_the_broker_has_not_taken_is_never_dropped():
    kept = kept_with(10, limit=4, settled=False)
    for number in range(5, 11):
        kept.settled(number)

    assert ask(kept, (1, 10))[0] == ResendAnswer(7, again=[(1, 4), (7, 10)], gone=[(5, 6)])


def test_without_stamps_nothing_is_kept_once_the_broker_took_it():
    kept = Kept(7, limit=100, stamped=False)
    kept.add(b"t", b"1")
    kept.add(b"t", b"2")
    kept.settled(1)

    assert (len(kept), kept.stamp(2), kept.message(2).payload) == (1, b"", b"2")


@given(
    st.integers(0, 30),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=4),
)
def test_every_number_asked_for_that_was_sent_is_sent_again_or_gone(count, limit, asked):
    ranges = [(first, first + more) for first, more in asked]
    answer, *_ = ask(kept_with(count, limit=limit), *ranges)

    wanted = {n for first, last in ranges for n in range(first, last + 1) if n <= count}
    again, gone = (
        {n for first, last in spans for n in range(first, last + 1)} for spans in (answer.again, answer.gone)
    )
    assert again | gone == wanted
    assert not again & gone
