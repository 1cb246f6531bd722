"""How far a stage is: what is said to be clear is clear, also after hours, and memory stays bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.telemetry.ledger.broker import FILTERS, BrokerFigures
from iotistic.telemetry.ledger.looks import Watch
from iotistic.telemetry.ledger.model import Stage

UPTIME, STORED, RETAINED, HANDED_ON = FILTERS


def look_at(*looks):
    """Look at a partition: (at, end, done); return the last word."""
    watch = Watch(Stage.RAW_TOPIC, "raw/0")
    return [watch.look(at, end=end, done=done) for at, end, done in looks][-1]


def test_an_empty_partition_is_clear_of_all_that_came_before_the_look():
    told = look_at((10.0, 0, 0), (12.0, 5, 5))

    assert (told.seen_at, told.clear_until, told.waiting) == ([10.0, 12.0], [10.0, 12.0], 0)


def test_a_partition_that_is_behind_is_clear_of_what_has_left_it():
    told = look_at((10.0, 100, 0), (12.0, 200, 50), (14.0, 300, 250))

    assert (told.seen_at, told.clear_until, told.waiting) == ([14.0], [12.0], 50)


def test_nothing_is_known_of_a_partition_that_stands_still():
    told = look_at(*((float(at), 100 + at, 50) for at in range(1000)))

    assert (told.seen_at, told.waiting) == ([], 1049)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 60), st.integers(0, 50), st.integers(0, 60)), max_size=300))
def test_what_is_told_is_bounded_and_true(steps):
    watch, at, end, done, came = Watch(Stage.RAW_TOPIC, "raw/0"), 0.0, 0, 0, []
    for pause, more, taken in steps:
        at += pause
        end += more
        came += [at] * more
        done = min(end, done + taken)
        told = watch.look(at, end=end, done=done)
        assert len(told.seen_at) <= 32
        # What has not left came after what is said to be clear, or at that very look.
        assert all(until <= came[done] for until in told.clear_until[-1:] if done < end)
        assert told.seen_at == sorted(told.seen_at)
    assert len(watch._ends) <= 65


def broker(*ticks):
    """Let a broker speak: (at, stored, retained, handed on), each heard after its uptime; return what is told."""
    figures = BrokerFigures()
    for at, stored, retained, handed_on in ticks:
        figures.hear(UPTIME, b"%d seconds" % at, at=at, retained=False)
        for topic, value in ((STORED, stored), (RETAINED, retained), (HANDED_ON, handed_on)):
            figures.hear(topic, b"%d" % value, at=at, retained=False)
    figures.hear(UPTIME, b"9 seconds", at=ticks[-1][0] + 10, retained=False)
    return figures.take()


def test_a_broker_that_holds_only_what_it_retains_is_clear():
    told = broker((10.0, 53, 53, 0))

    assert (told.waiting, told.seen_at, told.clear_until) == (0, [10.0], [10.0])


def test_what_waits_in_a_busy_broker_is_as_old_as_it_takes_to_hand_it_on():
    told = broker((10.0, 153, 53, 0), (20.0, 153, 53, 1000))

    assert (told.waiting, told.clear_until) == (100, [19.0])


def test_a_broker_that_hands_nothing_on_is_clear_of_nothing():
    told = broker((10.0, 153, 53, 7), (20.0, 153, 53, 7))

    assert (told.waiting, told.clear_until) == (100, [])


def test_figures_that_are_rubbish_or_of_another_time_say_nothing():
    figures = BrokerFigures()
    figures.hear(UPTIME, b"1 seconds", at=1.0, retained=False)
    figures.hear(UPTIME, b"1 seconds", at=2.0, retained=True)
    for topic in (STORED, RETAINED, HANDED_ON, "$SYS/broker/other"):
        for value in (b"", b"-1", b"nan", b"9" * 400, b"\xff", "²".encode()):
            figures.hear(topic, value, at=3.0, retained=False)
    figures.hear(UPTIME, b"", at=4.0, retained=False)
    figures.hear(UPTIME, b"", at=14.0, retained=False)

    assert figures.take() is None
