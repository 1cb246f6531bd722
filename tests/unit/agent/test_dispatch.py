"""What leaves the outbox, in which order and under which stamp, whatever the broker does."""

import asyncio
import contextlib
import json

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agent.link_line import UUID, Line

from iotistic.agent.link import sending
from iotistic.agent.link.dispatch import Dispatcher
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.outbox_rows import Letter, Stamp
from iotistic.agent.store.store import Store

NOW = 1_800_000_000
WITHIN_S = 10.0


async def until(met):
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.001)


class Device:
    """A store on a real disk, a dispatcher, and a line that the test answers for."""

    def __init__(self, store, line, *, window=8):
        self.store, self.line, self.now = store, line, 0.0
        self.dispatcher = Dispatcher(
            store.outbox,
            line,
            UUID,
            clock=lambda: self.now,
            chance=lambda: 0.5,
            window=window,
            look_every_s=0.01,
        )

    async def append(self, *numbers, topic="t"):
        return await self.dispatcher.append(Letter(topic, b"%d" % number) for number in numbers)

    async def standing(self):
        return await self.store.outbox.standing()

    async def answered(self, count=1):
        """Return the answers to the ledger."""
        topic = f"iot/device/{UUID}/ledger/resend/accepted"
        await until(lambda: len([one for one in self.line.arrived if one.topic == topic]) >= count)
        return [json.loads(one.payload) for one in self.line.arrived if one.topic == topic]


@contextlib.asynccontextmanager
async def device(folder, line=None, *, now=NOW, **options):
    store = await Store.open(folder / "agent.sqlite", clock=lambda: now)
    made = Device(store, line or Line(), **options)
    task = asyncio.create_task(made.dispatcher.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for one in made.line.waiting:
            one.answer.cancel()
        await store.close()


def numbers(sent):
    return [int(one.payload) for one in sent]


async def waiting(device, count):
    async with asyncio.timeout(WITHIN_S):
        while (await device.standing()).waiting != count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_messages_leave_in_order_with_their_stamps_and_wait_no_more(tmp_path):
    async with device(tmp_path) as one:
        stamps = await one.append(*range(5))
        await until(lambda: len(one.line.waiting) == 5)
        before = (await one.standing()).waiting
        one.line.take(5)
        await waiting(one, 0)

        assert numbers(one.line.arrived) == [0, 1, 2, 3, 4]
        assert [sent.stamp for sent in one.line.arrived] == stamps
        assert (before, (await one.standing()).messages) == (5, 5)


async def test_no_more_than_a_window_is_under_way(tmp_path):
    async with device(tmp_path, window=3) as one:
        await one.append(*range(20))
        await until(lambda: len(one.line.waiting) == 3)
        while len(one.line.arrived) < 20:
            one.line.take(1)
            await until(lambda: one.line.waiting or len(one.line.arrived) == 20)

        assert numbers(one.line.arrived) == list(range(20))
        assert one.line.most_waiting == 3


async def test_large_messages_make_the_window_smaller(tmp_path):
    async with device(tmp_path) as one:
        await one.dispatcher.append(Letter("t", bytes(700_000)) for _ in range(6))
        while len(one.line.arrived) < 6:
            await until(lambda: one.line.waiting)
            one.line.take(1)

        assert one.line.most_waiting == 2


async def test_offline_nothing_is_read_and_all_goes_when_the_line_is_back(tmp_path):
    async with device(tmp_path, Line(is_online=False)) as one:
        await one.append(1, 2)
        await asyncio.sleep(0.05)
        before = list(one.line.waiting)
        one.line.go(online=True)
        await until(lambda: len(one.line.waiting) == 2)

        assert before == []


async def test_what_was_appended_behind_its_back_is_found(tmp_path):
    async with device(tmp_path) as one:
        await one.store.outbox.append([Letter("t", b"1")])
        await until(lambda: one.line.waiting)


async def test_a_refused_topic_holds_up_no_other_and_goes_later(tmp_path):
    async with device(tmp_path, window=4) as one:
        await one.append(1, 2, 3, topic="bad")
        await one.append(4, 5, topic="good")
        await until(lambda: len(one.line.waiting) == 4)
        one.line.fail("refuse", topic="bad")
        await until(lambda: len(one.line.waiting) == 2)
        one.line.take(2)
        await waiting(one, 3)
        put_off = one.dispatcher.put_off
        one.now = 16.0
        await until(lambda: one.line.waiting)
        await asyncio.sleep(0.03)
        probes = numbers(one.line.waiting)
        one.line.take(1)
        await until(lambda: len(one.line.waiting) == 2)
        one.line.take(2)
        await waiting(one, 0)

        assert (put_off, probes) == (1, [1])
        assert numbers(one.line.arrived) == [4, 5, 1, 2, 3]
        assert one.dispatcher.put_off == 0


async def test_what_nobody_hears_stays_in_the_outbox(tmp_path):
    async with device(tmp_path) as one:
        await one.append(1)
        await until(lambda: one.line.waiting)
        one.line.fail("unheard")
        await until(lambda: one.dispatcher.put_off)

        assert (await one.standing()).waiting == 1


async def test_what_no_broker_takes_is_in_nobodys_way_and_is_kept(tmp_path):
    async with device(tmp_path) as one:
        await one.append(1, 2)
        await until(lambda: len(one.line.waiting) == 2)
        one.line.fail("unsendable")
        one.line.take(1)
        await waiting(one, 0)

        assert (await one.standing()).messages == 2


async def test_the_ledger_is_sent_what_it_asks_for_and_told_the_rest(tmp_path):
    async with device(tmp_path) as one:
        await one.append(*range(1, 31))
        while len(one.line.arrived) < 30:
            one.line.take(8)
            await asyncio.sleep(0.001)
        await waiting(one, 0)
        await one.store.outbox.confirm(NOW, [(5, 5)])
        one.line.hear("resend", json.dumps({"epoch": NOW, "ranges": [[2, 6], [10, 30]]}).encode())
        while len(one.line.arrived) < 30 + 25 + 1:
            one.line.take(100)
            await asyncio.sleep(0.001)
        [answer] = await one.answered()

        again = one.line.arrived[30:-1]
        assert numbers(again) == [2, 3, 4, 6, *range(10, 31)]
        assert [sent.stamp for sent in again] == [(NOW, number) for number in numbers(again)]
        assert answer == {"epoch": NOW, "again": [[2, 4], [6, 6], [10, 30]], "gone": [[5, 5]], "waiting": []}


async def test_what_waits_is_not_sent_twice_because_the_ledger_asks(tmp_path):
    async with device(tmp_path, Line(is_online=False)) as one:
        await one.append(1, 2)
        one.line.hear("resend", json.dumps({"epoch": NOW, "ranges": [[1, 2]]}).encode())
        await until(lambda: one.line.waiting)
        one.line.take(1)
        [answer] = await one.answered()

        assert answer == {"epoch": NOW, "again": [], "gone": [], "waiting": [[1, 2]]}


async def test_a_receipt_frees_what_is_stored_but_never_what_waits(tmp_path):
    async with device(tmp_path, window=4) as one:
        await one.append(*range(1, 7))
        await until(lambda: len(one.line.waiting) == 4)
        one.line.take(3)
        await waiting(one, 3)
        one.line.hear("receipt", json.dumps({"epoch": NOW, "sent": 6, "missing": [[2, 2]]}).encode())
        async with asyncio.timeout(WITHIN_S):
            while (await one.standing()).messages != 4:  # noqa: ASYNC110  2, 4, 5, 6
                await asyncio.sleep(0.001)
        one.line.take(3)
        async with asyncio.timeout(WITHIN_S):
            while (await one.standing()).messages != 1:  # noqa: ASYNC110  the receipt is followed to its end
                await asyncio.sleep(0.001)

        left = await one.store.outbox.again(NOW, [(1, 6)])
        assert [message.stamp for message in left.messages] == [Stamp(NOW, 2)]


async def test_a_disk_that_was_set_back_begins_a_new_epoch_and_forgets_nothing(tmp_path):
    async with device(tmp_path) as one:
        await one.append(1, 2)
        await until(lambda: len(one.line.waiting) == 2)
        one.line.take(2)
        await waiting(one, 0)
        one.line.hear("receipt", json.dumps({"epoch": NOW, "sent": 9}).encode())
        await asyncio.sleep(0.05)
        (after,) = await one.append(3)

        assert after == Stamp(NOW + 1, 1)
        assert (await one.standing()).messages == 3


async def test_a_larger_epoch_that_the_ledger_knows_is_passed(tmp_path):
    async with device(tmp_path, now=5) as one:
        one.line.hear("resend", json.dumps({"epoch": 1_900_000_000, "ranges": [[1, 4]]}).encode())
        await until(lambda: one.line.waiting)
        one.line.take(1)
        [answer] = await one.answered()
        (stamp,) = await one.append(1)

        assert answer["gone"] == [[1, 4]]
        assert stamp == Stamp(1_900_000_001, 1)


async def test_an_epoch_that_leaves_no_larger_one_is_not_believed(tmp_path):
    async with device(tmp_path) as one:
        one.line.hear("receipt", json.dumps({"epoch": 2**53 - 1, "sent": 1}).encode())
        await asyncio.sleep(0.05)
        (stamp,) = await one.append(1)

        assert stamp == Stamp(NOW, 1)


async def test_rubbish_from_the_ledger_changes_nothing(tmp_path):
    async with device(tmp_path) as one:
        for verb in ("resend", "receipt"):
            for rubbish in (b"", b"[]", b"{" * 9999, b'{"epoch": -1, "sent": 2, "ranges": [[0, 9]]}'):
                one.line.hear(verb, rubbish)
        await one.append(1)
        await until(lambda: one.line.waiting)
        one.line.take(1)
        await waiting(one, 0)

        assert len(one.line.arrived) == 1


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("take unacknowledged"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["refuse", "unheard", "offline", "online", "later", "crash"]), st.just(0)),
        st.tuples(st.sampled_from(["resend", "receipt"]), st.integers(1, 30)),
    ),
    max_size=20,
)


class Life:
    """One device through crashes. `kept` is what `append` returned a stamp for; the line outlives the device."""

    def __init__(self, folder):
        self.folder, self.line, self.kept, self.last = folder, Line(), {}, 0

    async def live(self, actions):
        """Carry out actions until one is a crash; return those that are left."""
        self.line.waiting.clear()
        self.line.watchers.clear()
        async with device(self.folder, self.line, window=4) as one:
            for place, (action, count) in enumerate(actions):
                if action == "crash":
                    return actions[place + 1 :]
                await self.act(one, action, count)
                for _ in range(3):
                    await asyncio.sleep(0.001)
            await self.drain(one)
        return None

    async def act(self, one, action, count):
        match action:
            case "append":
                fresh = range(self.last + 1, self.last + count + 1)
                self.last += count
                self.kept |= dict(zip(await one.append(*fresh), fresh, strict=True))
            case "take":
                self.line.take(count)
            case "take unacknowledged":
                self.line.take(count, acknowledge=False)
            case "offline" | "online":
                self.line.go(online=action == "online")
            case "later":
                one.now += 60.0
            case "resend":
                self.line.hear("resend", json.dumps({"epoch": NOW, "ranges": [[1, count]]}).encode())
            case "receipt":
                self.line.hear("receipt", json.dumps(self.receipt(count)).encode())
            case fault:
                self.line.fail(fault)

    def receipt(self, up_to):
        """Say what is stored, as a ledger does that has everything that arrived."""
        stored = {sent.stamp[1] for sent in self.line.arrived if sent.stamp}
        highest = min(up_to, max(stored, default=0))
        missing = [[number, number] for number in range(1, highest + 1) if number not in stored]
        return {"epoch": NOW, "sent": highest, "missing": missing}

    async def drain(self, one):
        self.line.go(online=True)
        async with asyncio.timeout(WITHIN_S):
            while (await one.standing()).waiting:
                self.line.take(10)
                one.now += 60.0
                await asyncio.sleep(0.001)


async def play(folder, actions):
    life, left = Life(folder), actions
    while left is not None:
        left = await life.live(left)
    arrived = [(Stamp(*sent.stamp), int(sent.payload)) for sent in life.line.arrived if sent.stamp]

    assert set(arrived) >= set(life.kept.items())
    assert len({stamp for stamp, _ in arrived}) == len(set(arrived)) == len({one for _, one in arrived})


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_everything_kept_arrives_under_one_stamp_whatever_happens(tmp_path_factory, actions):
    asyncio.run(play(tmp_path_factory.mktemp("dispatch"), actions))


async def test_a_disk_that_takes_no_writes_is_told_once_however_long_it_lasts(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_PAUSE_S", 0.01)
    store = await Store.open(tmp_path / "agent.sqlite", clock=lambda: NOW)
    made, tries = Device(store, Line()), 0
    note = store.outbox.sent

    async def sent(stamps):
        nonlocal tries
        tries += 1
        if tries <= 20:
            raise StoreUnavailable("the disk is full")
        await note(stamps)

    store.outbox.sent = sent
    with structlog.testing.capture_logs() as said:
        task = asyncio.create_task(made.dispatcher.run())
        await made.append(1)
        await until(lambda: made.line.waiting)
        made.line.take()
        await until(lambda: tries > 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.close()

    assert [one["event"] for one in said if one["log_level"] == "warning"] == ["outbox.not_dispatched"]
