"""One controller of a fleet between its wire and what it keeps."""

import random

import pytest

from iotistic.contracts.backlog import BacklogMessageInvalid, Grant
from iotistic.contracts.backlog import encode as encode_grant
from iotistic.contracts.delivery import ResendRequest, parse_answer
from iotistic.contracts.delivery import encode as encode_request
from iotistic.kernel.mqtt.packets import Publish
from iotistic.simulation.f2.catch_up import AT_ONCE, CatchUp
from iotistic.simulation.f2.controller import Controller, Message
from iotistic.simulation.f2.fleet import controller_mac
from iotistic.simulation.f2.kept import Kept
from iotistic.simulation.f2.member import Member
from iotistic.simulation.f2.tally import Tally

MAC = controller_mac(0)
TAKEN, REFUSED = 0, 0x87


class Wire:
    """A client whose broker takes what the test tells it to take."""

    def __init__(self):
        self.outbox = []
        self.room = 1000

    def offer(self, message):
        taken = len(self.outbox) < self.room
        self.outbox += [message] * taken
        return taken

    def take_back(self):
        taken, self.outbox = self.outbox, []
        return taken


class Bench:
    """A controller that was connected once."""

    def __init__(self, limit=1000):
        self.wire = Wire()
        self.tally = Tally()
        self.member = Member(
            Controller(MAC, seed=1),
            self.wire,
            Kept(7, limit=100),
            CatchUp(random.Random(1)),
            limit=limit,
            tally=self.tally,
        )
        self.member.online(0.0)

    def measure(self, count):
        self.member.publish(Message(b"tele/f2-%d" % n, b"%d" % n) for n in range(count))

    def lose(self):
        self.tally.connected -= 1
        self.member.lost()

    def settle(self, reason=TAKEN):
        """The broker answers for everything that is on its way now."""
        messages, self.wire.outbox = self.wire.outbox, []
        for message in messages:
            self.member.settled(message, reason, 1.0)
        return messages

    def hear(self, verb, payload):
        return self.member.hear(Publish(f"cmnd/f2-{MAC}/{verb}".encode(), payload, 1, False, False, 1), 1.0)

    def grant(self, count):
        return self.hear("backlog", encode_grant(Grant(count, within_s=30)))

    @property
    def sent(self):
        return [(message.topic, message.payload) for message in self.wire.outbox]


def stamps(messages):
    return {message.payload: message.correlation for message in messages}


@pytest.fixture
def bench():
    return Bench()


def test_what_was_under_way_when_the_link_broke_comes_again_with_its_stamp_below_backlog(bench):
    bench.measure(30)
    before = stamps(bench.wire.outbox)
    bench.lose()
    bench.member.online(1.0)
    asked = bench.sent
    bench.settle()
    bench.grant(30)
    granted = bench.settle() + bench.settle()

    assert asked == [(f"stat/f2-{MAC}/backlog".encode(), b'{"waiting":30}')]
    assert [message.topic for message in granted[:30]] == [b"backlog/tele/f2-%d" % n for n in range(30)]
    assert stamps(granted[:30]) == before
    assert (bench.tally.kept_back, bench.tally.caught_up, bench.tally.unacknowledged) == (0, 30, 0)


def test_new_readings_go_out_at_once_while_old_ones_wait(bench):
    bench.lose()
    bench.measure(50)
    bench.member.online(1.0)
    bench.wire.outbox.clear()
    bench.measure(1)

    assert bench.sent == [(b"tele/f2-0", b"0")]
    assert bench.tally.kept_back == 50


def test_what_waits_for_a_grant_is_not_sent_again_when_the_ledger_asks_for_it(bench):
    bench.measure(5)
    bench.settle()
    bench.lose()
    bench.measure(50)
    bench.member.online(1.0)
    bench.wire.outbox.clear()
    bench.hear("resend", encode_request(ResendRequest(7, [(4, 10)])))
    *again, answer = bench.wire.outbox

    assert [message.payload for message in again] == [b"3", b"4"]
    assert parse_answer(answer.payload).again == [(4, 5)]
    assert parse_answer(answer.payload).waiting == [(6, 10)]


def test_messages_about_messages_are_not_kept_back(bench):
    bench.measure(3)
    bench.settle()
    bench.hear("resend", encode_request(ResendRequest(7, [(1, 2)])))
    bench.lose()

    assert (bench.tally.kept_back, bench.tally.unacknowledged) == (0, 0)


def test_what_was_sent_again_and_lost_can_be_asked_for_once_more(bench):
    bench.measure(1)
    bench.settle()
    request = encode_request(ResendRequest(7, [(1, 1)]))
    bench.hear("resend", request)
    bench.lose()
    bench.member.online(1.0)
    bench.hear("resend", request)

    assert bench.sent[0] == (b"tele/f2-0", b"0")


def test_a_broker_that_refuses_the_lane_gets_everything_on_ordinary_topics(bench):
    bench.lose()
    bench.measure(30)
    bench.member.online(1.0)
    bench.settle()
    bench.grant(30)
    bench.settle(REFUSED)
    rest = bench.settle() + bench.settle()

    assert {message.payload for message in rest} == {b"%d" % n for n in range(30)}
    assert all(not message.topic.startswith(b"backlog/") for message in rest)
    assert (bench.tally.kept_back, bench.tally.caught_up, bench.tally.lane_refused) == (0, 30, AT_ONCE)
    assert bench.tally.refused == {}


def test_a_full_outbox_takes_nothing_away_from_what_is_kept(bench):
    bench.lose()
    bench.measure(30)
    bench.member.online(1.0)
    bench.wire.outbox.clear()
    bench.wire.room = 7
    bench.grant(30)
    first = bench.settle()
    bench.wire.room = 1000
    bench.member.take(bench.member.catch_up.act(2.0))
    rest = bench.settle() + bench.settle()

    payloads = [message.payload for message in first + rest if message.number]
    assert payloads == [b"%d" % n for n in range(30)]


def test_no_more_is_kept_back_than_fits(bench):
    bench = Bench(limit=10)
    bench.lose()
    bench.measure(15)

    assert (bench.tally.kept_back, bench.tally.skipped, bench.member.kept.next_number) == (10, 5, 11)


def test_counts_say_what_waits_and_what_came_after_all(bench):
    bench.lose()
    bench.measure(30)
    bench.member.online(1.0)
    bench.settle()
    waiting = bench.tally.line()
    bench.grant(25)
    bench.settle()
    told = bench.tally.summary()

    assert "30 kept back, 0 granted, 0 caught up" in waiting
    assert [told[name] for name in ("kept_back", "backlog_granted", "caught_up")] == [5, 25, 20]
    assert told["backlog_asked"] == 1


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"grant": -1}', b'{"grant": "all"}', b"[" * 2000, b"\xff"])
def test_garbage_grants_nothing(bench, payload):
    bench.lose()
    bench.measure(30)
    bench.member.online(1.0)
    bench.wire.outbox.clear()

    with pytest.raises(BacklogMessageInvalid):
        bench.hear("backlog", payload)
    assert bench.sent == []
    assert bench.tally.kept_back == 30
