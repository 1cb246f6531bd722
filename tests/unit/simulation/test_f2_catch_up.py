"""How a controller lets go of what it kept through an outage."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iotistic.contracts.backlog import UNANSWERED_ASKS, Grant
from iotistic.simulation.f2.catch_up import AT_ONCE, CatchUp, Step


def away_with(count, **options):
    catch_up = CatchUp(random.Random(1), first_pause_s=1.0, **options)
    for number in range(1, count + 1):
        catch_up.keep(number)
    return catch_up


def numbers(first, last):
    return list(range(first, last + 1))


def settle(catch_up, count, now_s=0.0):
    """The broker takes so many; return what was let go upon that."""
    turns = [catch_up.settled(now_s) for _ in range(count)]
    return [number for turn in turns for number in turn.numbers], [
        turn.waiting for turn in turns if turn.waiting is not None
    ]


def test_a_handful_goes_straight_out():
    catch_up = away_with(AT_ONCE)
    turn = catch_up.back(0.0)
    settle(catch_up, AT_ONCE)

    assert (turn.numbers, turn.granted, turn.waiting) == (numbers(1, AT_ONCE), False, None)
    assert catch_up.step is Step.DONE


def test_more_than_a_handful_waits_until_it_is_granted():
    catch_up = away_with(100)
    asked = catch_up.back(0.0)
    granted = catch_up.hear(Grant(30, within_s=10), 1.0)

    assert (asked.waiting, asked.numbers) == (100, [])
    assert (granted.numbers, granted.granted) == (numbers(1, AT_ONCE), True)
    assert settle(catch_up, AT_ONCE, 2.0) == (numbers(21, 30), [])
    assert settle(catch_up, 10, 3.0) == ([], [70])


def test_when_the_time_is_over_it_asks_again_and_sends_nothing():
    catch_up = away_with(100)
    catch_up.back(0.0)
    catch_up.hear(Grant(60, within_s=10), 0.0)

    assert catch_up.act(9.9).waiting is None
    assert catch_up.act(10.0).waiting == 80
    assert settle(catch_up, AT_ONCE, 10.1) == ([], [])


def test_it_says_when_it_is_done():
    catch_up = away_with(25)
    catch_up.back(0.0)
    catch_up.hear(Grant(50, within_s=10), 0.0)

    assert settle(catch_up, 25, 1.0) == (numbers(21, 25), [0])
    assert catch_up.step is Step.DONE
    assert catch_up.hear(Grant(50, within_s=10), 2.0).waiting == 0


def test_a_refusal_is_honoured_and_a_grant_taken_before():
    catch_up = away_with(100)
    catch_up.back(0.0)
    catch_up.hear(Grant(0, retry_after_s=12, reason="busy"), 0.0)

    assert catch_up.act(11.99).waiting is None
    assert catch_up.act(15.0).waiting == 100
    catch_up.hear(Grant(0, retry_after_s=12), 15.0)
    assert catch_up.hear(Grant(5, within_s=1), 16.0).numbers == numbers(1, 5)


def test_a_refusal_without_a_time_is_not_answered_at_once():
    catch_up = away_with(100)
    catch_up.back(0.0)
    catch_up.hear(Grant(0), 0.0)

    assert catch_up.act(0.9).waiting is None
    assert catch_up.act(2.0).waiting == 100


def asked_in_vain(catch_up):
    """Let time pass until it gives up; return when it asked."""
    at = []
    now_s = 0.0
    while not (turn := catch_up.act(now_s)).numbers:
        at += [now_s] if turn.waiting else []
        now_s += 0.1
    return at, turn


def test_without_answers_it_asks_less_and_less_often_and_then_sends_all_on_ordinary_topics():
    catch_up = away_with(50)
    catch_up.back(0.0)
    at, turn = asked_in_vain(catch_up)
    pauses = [later - sooner for sooner, later in zip([0.0, *at], at, strict=False)]

    assert len(at) == UNANSWERED_ASKS - 1
    assert pauses == sorted(pauses)
    assert (turn.numbers, turn.granted) == (numbers(1, AT_ONCE), False)
    assert settle(catch_up, 30) == (numbers(21, 50), [])


def test_an_answer_that_comes_late_is_obeyed_all_the_same():
    catch_up = away_with(100)
    catch_up.back(0.0)
    asked_in_vain(catch_up)
    catch_up.hear(Grant(0, retry_after_s=60), 100.0)

    assert settle(catch_up, AT_ONCE, 101.0) == ([], [])
    assert catch_up.act(200.0).waiting == 80


def test_whoever_asks_nobody_pours_out_everything():
    catch_up = away_with(100, ask_above=None)

    assert catch_up.back(0.0).numbers == numbers(1, AT_ONCE)
    assert settle(catch_up, 100) == (numbers(21, 100), [])


def test_what_was_under_way_when_the_link_broke_goes_first():
    catch_up = away_with(100)
    catch_up.back(0.0)
    catch_up.hear(Grant(30, within_s=10), 0.0)
    catch_up.lost([3, 7, 101])
    asked = catch_up.back(5.0)

    assert asked.waiting == 83
    assert catch_up.hear(Grant(100, within_s=10), 5.0).numbers == [3, 7, *numbers(21, 38)]


def test_a_broker_that_knows_no_lane_gets_all_on_ordinary_topics():
    catch_up = away_with(100)
    catch_up.back(0.0)
    catch_up.hear(Grant(15, within_s=10), 0.0)
    for number in numbers(1, 15):
        turn = catch_up.refused(number)

    assert turn.granted is False
    assert len(catch_up) + AT_ONCE >= 100
    assert catch_up.hear(Grant(15, within_s=10), 1.0).numbers == []


GRANTS = st.builds(
    Grant,
    grant=st.sampled_from([0, 1, 7, 100, 2**53 - 1]),
    within_s=st.sampled_from([0.0, 0.5, 20.0, 86_400.0]),
    retry_after_s=st.sampled_from([0.0, 3.0, 86_400.0]),
)


class Outage(RuleBasedStateMachine):
    """A controller, a broker that takes what it likes when it likes, and a granter that says anything."""

    @initialize(ask_above=st.sampled_from([None, 0, 20]))
    def begin(self, ask_above):
        self.catch_up = CatchUp(random.Random(1), ask_above=ask_above, first_pause_s=1.0)
        self.never_asks = ask_above is None
        self.now_s = 0.0
        self.made = 0
        self.under_way = []
        self.taken = set()
        self.last_let_go = 0
        self.left = 0
        self.until_s = 0.0

    def watch(self, turn):
        if turn.granted:
            self.left -= len(turn.numbers)
            assert self.left >= 0
            assert self.now_s < self.until_s
        for number in turn.numbers:
            assert number > self.last_let_go
            self.last_let_go = number
        self.under_way += turn.numbers
        assert len(self.under_way) <= AT_ONCE

    @property
    def is_away(self):
        return self.catch_up.step is Step.AWAY

    @precondition(lambda self: self.is_away)
    @rule(count=st.integers(1, 60))
    def measure_while_away(self, count):
        for _ in range(count):
            self.made += 1
            self.catch_up.keep(self.made)

    @precondition(lambda self: self.is_away)
    @rule()
    def come_back(self):
        self.last_let_go = 0
        self.left = 0
        self.watch(self.catch_up.back(self.now_s))

    @precondition(lambda self: not self.is_away)
    @rule(new=st.integers(0, 5))
    def lose_the_link(self, new):
        """New readings were under way, too."""
        self.under_way += range(self.made + 1, self.made + 1 + new)
        self.made += new
        self.catch_up.lost(self.under_way)
        self.under_way = []

    @precondition(lambda self: not self.is_away)
    @rule(answer=GRANTS)
    def answer(self, answer):
        self.left = answer.grant
        self.until_s = self.now_s + answer.within_s
        self.watch(self.catch_up.hear(answer, self.now_s))

    @precondition(lambda self: self.under_way)
    @rule(count=st.integers(1, AT_ONCE))
    def take(self, count):
        for number in self.under_way[:count]:
            self.taken.add(number)
            self.under_way.remove(number)
            self.watch(self.catch_up.settled(self.now_s))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def wait(self, seconds):
        self.now_s += seconds
        self.watch(self.catch_up.act(self.now_s))

    @precondition(lambda self: not self.is_away)
    @rule(count=st.integers(1, 5))
    def find_no_room(self, count):
        """What a turn lets go does not fit into the outbox."""
        turn = self.catch_up.act(self.now_s)
        if turn.numbers:
            count = min(count, len(turn.numbers))
            self.watch(type(turn)(turn.waiting, turn.numbers[:-count], turn.granted))
            self.catch_up.not_taken(turn, count)

    @invariant()
    def nothing_is_lost(self):
        known = {*self.catch_up._kept, *self.under_way, *self.taken}
        assert known == set(range(1, self.made + 1))

    def teardown(self):
        """Whoever is answered well comes to an end."""
        if self.is_away:
            self.come_back()
        for _ in range(2 * self.made + 2 * UNANSWERED_ASKS):
            self.answer(Grant(50, within_s=1000))
            while self.under_way:
                self.take(AT_ONCE)
            self.wait(60.0)
        assert self.taken == set(range(1, self.made + 1))
        assert self.catch_up.step is Step.DONE


TestOutage = Outage.TestCase
TestOutage.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
