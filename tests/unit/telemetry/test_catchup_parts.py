"""The parts of the granter: account, line, window, and what reports say together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.catchup.account import Account, Lease
from iotistic.telemetry.catchup.line import Line
from iotistic.telemetry.catchup.loads import Load, LoadReader
from iotistic.telemetry.catchup.window import Window

MACS = st.sampled_from("abcdef")
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), MACS, st.integers(1, 20)),
        st.tuples(st.just("close"), MACS, st.integers(0, 200)),
        st.tuples(st.just("stored"), st.just(""), st.integers(0, 50)),
        st.tuples(st.just("expire"), st.just(""), st.integers(0, 5)),
        st.tuples(st.just("give_up"), st.just(""), st.integers(0, 5)),
    ),
    max_size=60,
)


def load(lane="live", process="ingest-0", **given):
    usual = {"started_s": 1.0, "stored": 0, "delay_s": 0.0, "waiting": 0, "away": None, "age_s": 0.1}
    return Load(lane, process, **(usual | given))


def both(**backlog):
    return [load(), load("backlog", "ingest-backlog-0@host:7", **backlog)]


@given(DEEDS)
def test_whatever_happens_an_account_is_never_below_nothing_and_comes_back_to_it(deeds):
    account, now = Account(), 0.0
    for deed, mac, amount in deeds:
        now += 0.5
        {
            "open": lambda mac=mac, amount=amount, now=now: (
                account.lease(mac) or account.open(mac, Lease(amount, 100, now, now + 3))
            ),
            "close": lambda mac=mac, amount=amount, now=now: account.close(mac, waiting=amount, now=now),
            "stored": lambda amount=amount: account.stored(amount),
            "expire": lambda amount=amount, now=now: account.expire(now - amount),
            "give_up": lambda amount=amount, now=now: account.give_up(now - amount),
        }[deed]()
        assert account.outstanding >= 0
    account.expire(now + 10)
    account.give_up(now + 10)

    assert (account.outstanding, account.leases) == (0, 0)


def test_what_is_stored_while_a_lease_is_open_does_not_count_as_under_way():
    account = Account()
    account.open("a", Lease(10, 100, 0.0, 30.0))
    account.stored(4)
    assert account.outstanding == 6
    account.close("a", waiting=90, now=1.0)
    assert account.outstanding == 6
    account.stored(6)

    assert account.outstanding == 0


def test_what_a_device_did_not_send_is_given_back_when_it_asks_again():
    account = Account()
    account.open("a", Lease(10, 100, 0.0, 30.0))
    account.close("a", waiting=97, now=1.0)

    assert account.outstanding == 3


@pytest.mark.parametrize(("waiting", "sent"), [(500, 0), (0, 10)])
def test_a_number_that_cannot_be_right_counts_as_all_or_nothing_of_the_lease(waiting, sent):
    account = Account()
    account.open("a", Lease(10, 100, 0.0, 30.0))
    account.close("a", waiting=waiting, now=1.0)

    assert account.outstanding == sent


def test_who_leaves_the_line_makes_way():
    line = Line(10)
    for mac in "abc":
        line.join(mac, 1, until=10, now=0)
    line.leave("a")

    assert line.first(1).mac == "b"
    assert line.before(line.join("c", 1, until=10, now=1)) == 1


def test_a_window_doubles_until_it_was_halved_once_and_then_grows_by_an_eighth():
    window = Window(100, 10_000)
    for _ in range(4):
        window.grow(window.size)
    assert window.size == 1600
    assert window.halve(1.0)
    assert window.size == 800
    window.grow(800)

    assert window.size == 900


def test_a_window_is_halved_once_for_one_reason_and_never_below_the_least():
    window = Window(100, 10_000)
    window.grow(700)

    assert [window.halve(at) for at in (1.0, 1.1, 3.0, 5.0, 7.0)] == [True, False, True, True, True]
    assert window.size == 100


def wide_window():
    """A window that has been halved before, so that it does not double any more."""
    window = Window(100, 100_000)
    for _ in range(5):
        window.grow(window.size)
    window.halve(-100.0)
    return window


def test_a_machine_that_stops_for_a_moment_does_not_halve_the_window_and_one_that_stays_slow_does():
    window = wide_window()
    wide = window.size
    for moment in range(10):  # two slow looks, and two that are not
        assert [window.look(times, moment * 2 + at / 2) for at, times in enumerate((1.5, 1.5, 0.4, 0.4))] == [
            False,
            False,
            True,
            True,
        ]
    assert window.size == wide
    for at in range(3):
        window.look(1.5, 100 + at / 2)

    assert window.size == wide // 2


def test_one_look_is_enough_where_live_readings_wait_for_several_times_as_long_as_they_may():
    window = wide_window()
    wide = window.size
    window.look(5.0, 1.0)

    assert window.size == wide // 2


def test_doubling_ends_with_the_first_slow_look():
    window = Window(100, 100_000)
    for _ in range(4):
        window.grow(window.size)
    window.look(1.1, 1.0)
    window.grow(800)

    assert window.size == 900


def test_live_readings_that_are_slow_while_next_to_nothing_is_granted_do_not_end_the_doubling():
    window = Window(100, 100_000)
    for at in range(10):
        window.look(2.0, float(at))
    for _ in range(3):
        window.grow(window.size)

    assert window.size == 800


def test_a_window_does_not_grow_while_live_readings_are_nearly_as_slow_as_they_may_be():
    window = wide_window()

    assert [window.look(times, 1.0) for times in (0.5, 0.8, 0.5)] == [True, False, True]


def test_a_window_stays_within_its_bounds():
    window = Window(100, 1000)
    for _ in range(100):
        window.grow(10_000)
    assert window.size == 1000
    window.collapse()

    assert window.size == 100
    assert Window(100, 10).size == 100


def test_the_first_look_counts_nothing_and_the_next_what_came_since():
    reader = LoadReader()

    assert reader.read(both(stored=1000)).stored == 0
    assert reader.read(both(stored=1250)).stored == 250
    assert reader.read(both(stored=1250)).stored == 0


def test_a_worker_that_was_started_again_counts_from_its_start():
    reader = LoadReader()
    reader.read(both(stored=1000))

    assert reader.read(both(stored=40, started_s=9.0)).stored == 40


def test_the_slowest_of_all_live_workers_counts():
    loads = [*both(waiting=7, delay_s=2), load(process="ingest-1", delay_s=0.5)]
    situation = LoadReader().read(loads)

    assert (situation.live_delay_s, situation.backlog_delay_s, situation.waiting) == (0.5, 2, 7)
    assert situation.trouble is None


@pytest.mark.parametrize(
    ("loads", "code"),
    [
        ([], "catchup.no_live_worker"),
        ([load("backlog")], "catchup.no_live_worker"),
        ([load()], "catchup.no_backlog_worker"),
        (both(age_s=4), "catchup.no_backlog_worker"),
        ([load(age_s=4), load("backlog")], "catchup.no_live_worker"),
        (both(away="the database cannot be reached"), "catchup.away"),
        ([load(away="no broker"), load("backlog")], "catchup.away"),
        ([*both(), load("nonsense")], None),
    ],
)
def test_trouble_is_named(loads, code):
    trouble = LoadReader().read(loads).trouble

    assert (trouble and trouble.code) == code


def test_trouble_says_who_and_what():
    trouble = LoadReader().read(both(away="the database cannot be reached")).trouble

    assert trouble.words == "ingest-backlog-0: the database cannot be reached"
