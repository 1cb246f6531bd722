"""Messages that wait for the cloud, on real files; the kills stand in test_outbox_kills."""

import asyncio
import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.agent.store.errors import MessageTooLarge
from iotistic.agent.store.outbox_rows import Letter, Stamp
from iotistic.agent.store.ranges import joined, within, without
from iotistic.agent.store.store import Store

NOW = 1_800_000_000.0


@contextlib.asynccontextmanager
async def opened(folder, *, now=NOW, limit=2**20):
    store = await Store.open(folder / "agent.sqlite", clock=lambda: now, outbox_bytes=limit)
    try:
        yield store.outbox
    finally:
        await store.close()


def letters(*numbers):
    return [Letter(f"t/{number}", b"%d" % number) for number in numbers]


def numbers(messages):
    return [int(message.payload) for message in messages]


async def test_messages_come_out_in_the_order_in_which_they_went_in(tmp_path):
    async with opened(tmp_path) as outbox:
        stamps = await outbox.append(letters(1, 2))
        await outbox.append(letters(3))
    async with opened(tmp_path) as outbox:
        found = await outbox.waiting()

    assert stamps == [Stamp(int(NOW), 1), Stamp(int(NOW), 2)]
    assert numbers(found) == [1, 2, 3]
    assert (found[2].stamp, found[2].topic, found[2].kept_at) == (Stamp(int(NOW), 3), "t/3", NOW)


async def test_what_many_append_at_once_is_numbered_without_holes(tmp_path):
    async with opened(tmp_path) as outbox:
        stamps = await asyncio.gather(*(outbox.append(letters(number)) for number in range(200)))

    assert sorted(stamp.sequence for (stamp,) in stamps) == list(range(1, 201))


async def test_whoever_sends_hears_of_every_append_once_it_is_kept(tmp_path):
    heard = []
    async with opened(tmp_path, limit=1000) as outbox:
        outbox.appended = lambda: heard.append(1)
        await outbox.append(letters(1))
        with pytest.raises(MessageTooLarge):
            await outbox.append([Letter("t", bytes(2000))])

    assert heard == [1]


async def test_numbers_go_on_after_everything_was_confirmed_and_forgotten(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1, 2, 3))
        removed = await outbox.confirm_up_to(int(NOW), 3, [])
    async with opened(tmp_path, now=NOW + 99) as outbox:
        (stamp,) = await outbox.append(letters(4))

    assert (removed, stamp) == (3, Stamp(int(NOW), 4))


async def test_what_was_sent_waits_no_more_and_can_be_asked_for_again(tmp_path):
    async with opened(tmp_path) as outbox:
        stamps = await outbox.append(letters(1, 2, 3, 4))
        await outbox.sent([stamps[0], stamps[2]])
        waiting = await outbox.waiting()
        again = await outbox.again(int(NOW), [(1, 6)])

    assert numbers(waiting) == [2, 4]
    assert (numbers(again.messages), again.gone, again.waiting) == ([1, 3], [(5, 6)], [(2, 2), (4, 4)])


async def test_what_was_sent_in_order_is_remembered_and_the_rest_is_sent_again(tmp_path):
    async with opened(tmp_path) as outbox:
        stamps = await outbox.append(letters(1, 2, 3, 4))
        await outbox.sent([stamps[3], stamps[1], stamps[0]])
    async with opened(tmp_path) as outbox:
        found = await outbox.waiting()

    assert numbers(found) == [3, 4]


async def test_the_link_can_look_behind_what_is_under_way(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1, 2, 3, 4, 5))
        first = await outbox.waiting(2)
        second = await outbox.waiting(2, after=first[-1].stamp)

    assert (numbers(first), numbers(second)) == ([1, 2], [3, 4])


async def test_a_receipt_keeps_what_is_missing(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(*range(1, 11)))
        removed = await outbox.confirm_up_to(int(NOW), 8, [(2, 3), (7, 7)])
        left = await outbox.waiting()

    assert (removed, numbers(left)) == (5, [2, 3, 7, 9, 10])


async def test_a_receipt_may_be_faster_than_the_acknowledgement(tmp_path):
    async with opened(tmp_path) as outbox:
        stamps = await outbox.append(letters(1, 2))
        await outbox.confirm(int(NOW), [(2, 2)])
        await outbox.sent([stamps[1]])
        standing = await outbox.standing()

    assert (standing.messages, standing.waiting) == (1, 1)


async def test_confirmations_of_what_is_not_here_change_nothing(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1, 2))
        counts = [
            await outbox.confirm(epoch, [(first, last)])
            for epoch, first, last in (
                (int(NOW) + 1, 1, 2),
                (7, 1, 2),
                (int(NOW), 3, 2**53),
                (int(NOW), 0, 0),
            )
        ]
        await outbox.sent([Stamp(1, 1), Stamp(int(NOW), 99), Stamp(int(NOW), 0)])
        left = await outbox.waiting()

    assert (counts, numbers(left)) == ([0, 0, 0, 0], [1, 2])


async def test_past_its_limit_the_oldest_go_and_are_counted(tmp_path):
    async with opened(tmp_path, limit=100_000) as outbox:
        for _ in range(40):
            await outbox.append([Letter("t", os.urandom(10_000))])
        standing = await outbox.standing()
        found = await outbox.waiting()
    async with opened(tmp_path, limit=100_000) as outbox:
        again = await outbox.standing()

    assert [message.stamp.sequence for message in found] == list(range(41 - len(found), 41))
    assert (standing.messages, standing.dropped) == (len(found), 40 - len(found))
    assert 80_000 < standing.bytes <= 100_000
    assert again == standing


async def test_a_message_larger_than_the_outbox_is_refused(tmp_path):
    async with opened(tmp_path, limit=1000) as outbox:
        with pytest.raises(MessageTooLarge):
            await outbox.append([*letters(1), Letter("t", bytes(2000))])
        found = await outbox.waiting()

    assert found == []


async def test_a_new_epoch_is_larger_than_all_before_whatever_the_clock_says(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1))
        await outbox.begin_epoch()
    async with opened(tmp_path, now=5.0) as outbox:
        (second,) = await outbox.append(letters(2))
        await outbox.begin_epoch(above=2_000_000_000)
        (third,) = await outbox.append(letters(3))
        found = await outbox.waiting()
        again = await outbox.again(int(NOW), [(1, 3)])

    assert (second, third) == (Stamp(int(NOW) + 1, 1), Stamp(2_000_000_001, 1))
    assert [message.stamp for message in found] == [Stamp(int(NOW), 1), second, third]
    assert (again.waiting, again.gone) == ([(1, 1)], [(2, 3)])


async def test_the_last_number_of_each_epoch_is_known_whatever_was_removed(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1, 2, 3))
        await outbox.begin_epoch()
        (second,) = await outbox.append(letters(4))
        await outbox.confirm(int(NOW), [(3, 3)])
        known = [await outbox.last(epoch) for epoch in (int(NOW), second.epoch, 5)]
    async with opened(tmp_path) as outbox:
        again = [await outbox.last(epoch) for epoch in (int(NOW), second.epoch, 5)]

    assert known == again == [3, 1, 0]


async def test_a_new_file_on_a_device_with_a_wrong_clock_begins_a_larger_epoch(tmp_path):
    async with opened(tmp_path) as outbox:
        (first,) = await outbox.append(letters(1))
    (tmp_path / "agent.sqlite").unlink()
    async with opened(tmp_path, now=3.0) as outbox:
        (second,) = await outbox.append(letters(1))

    assert second == Stamp(first.epoch + 1, 1)


async def test_clearing_forgets_everything_but_the_numbers(tmp_path):
    async with opened(tmp_path) as outbox:
        await outbox.append(letters(1, 2))
        await outbox.clear()
        found = await outbox.waiting()
        (stamp,) = await outbox.append(letters(3))

    assert (found, stamp) == ([], Stamp(int(NOW) + 1, 1))


async def test_a_message_that_cannot_be_read_holds_up_nobody(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite", clock=lambda: NOW)
    await store.outbox.append(letters(1, 2, 3))
    await store.database.run(lambda db: db.execute("UPDATE outbox SET sealed = x'0102' WHERE id = 2"))
    found = await store.outbox.waiting()
    standing = await store.outbox.standing()
    await store.close()

    assert (numbers(found), standing.messages, standing.dropped) == ([1, 3], 2, 1)


RANGES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 6)).map(lambda one: (one[0], one[0] + one[1])))


def members(ranges):
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(RANGES, st.integers(1, 30), st.integers(0, 30))
def test_ranges_mean_the_numbers_that_they_hold(ranges, first, length):
    whole = (first, first + length)

    assert members(without(whole, ranges)) == members([whole]) - members(ranges)
    assert members(within(ranges, whole)) == members(ranges) & members([whole])
    assert members(joined(members(ranges))) == members(ranges)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("sent"), st.integers(1, 30), st.integers(0, 3)),
        st.tuples(st.just("confirm"), st.integers(1, 30), st.integers(0, 8)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
        st.tuples(st.just("fail"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


async def fail(outbox):
    """Undo an append together with what failed beside it."""
    before = await outbox.standing()

    def work(connection):
        outbox._table.append(connection, letters(0), NOW)
        raise ValueError

    with contextlib.suppress(ValueError):
        await outbox._database.run(work)
    assert await outbox.standing() == before


async def play(folder, actions):
    """Carry out actions on an outbox and on sets of numbers, which have to agree all the time."""
    kept, sent, last = [1], set(), 1
    store = await Store.open(folder / "agent.sqlite", clock=lambda: NOW)
    await store.outbox.append(letters(1))  # an epoch whose begin is undone is passed over
    for action, first, length in actions:
        outbox, reach = store.outbox, range(first, first + length + 1)
        match action:
            case "append":
                stamps = await outbox.append(letters(*range(last + 1, last + first + 1)))
                assert [stamp.sequence for stamp in stamps] == list(range(last + 1, last + first + 1))
                last += first
                kept += [stamp.sequence for stamp in stamps]
            case "sent":
                await outbox.sent(Stamp(int(NOW), number) for number in reach)
                sent |= {number for number in reach if number <= last}
            case "confirm":
                removed = await outbox.confirm(int(NOW), [(reach[0], reach[-1])])
                assert removed == len([number for number in kept if number in reach])
                kept = [number for number in kept if number not in reach]
            case "fail":
                await fail(outbox)
            case _:
                await store.close()
                store = await Store.open(folder / "agent.sqlite", clock=lambda: NOW)
                ahead = min((number for number in kept if number not in sent), default=last + 1)
                sent = {number for number in sent if number < ahead}
        found = numbers(await store.outbox.waiting())
        assert found == [number for number in kept if number not in sent]
        standing = await store.outbox.standing()
        assert (standing.messages, standing.waiting) == (len(kept), len(found))
    await store.close()


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS)
def test_an_outbox_agrees_with_a_list(tmp_path_factory, actions):
    asyncio.run(play(tmp_path_factory.mktemp("outbox"), actions))
