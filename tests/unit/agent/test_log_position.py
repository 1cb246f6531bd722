"""Reading goes on where it was: whatever interrupts it, no line is lost and none is told twice."""

import json

from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.engines.port import LogLine
from iotistic.agent.logs.position import Position

NOW = 2_000_000.0
STEPS = st.lists(st.sampled_from([0, 0, 1, 3, 500, 20_000, 80_000, 3_000_000]), max_size=300)
BREAKS = st.lists(st.integers(0, 320), max_size=8)


def log_of(steps):
    """A log as an engine keeps it: in the order of its times, some of them the same."""
    at, lines = 1_000_000_000_000, []
    for number, step in enumerate(steps):
        at += step
        lines.append(LogLine(at / 1e6, f"line {number % 3}", number % 5 == 0))
    return lines


def read(position, log, until):
    """Read a log from where the position is, as an engine gives it."""
    since = position.resume(NOW, 0.0)
    return [line for line in log[:until] if line.at >= since and position.read(line)]


@given(STEPS, BREAKS)
def test_interruptions_neither_lose_nor_repeat(steps, breaks):
    log = log_of(steps)
    position, found = Position(), []
    for until in [*sorted(breaks), len(log)]:
        found += read(position, log, until)

    assert found == log


@given(STEPS, BREAKS)
def test_a_position_that_was_kept_on_disk_is_as_good(steps, breaks):
    log = log_of(steps)
    position, found = Position(), []
    for until in [*sorted(breaks), len(log)]:
        found += read(position, log, until)
        position = Position.from_written(json.loads(json.dumps(position.written())))

    assert found == log


def test_a_line_that_is_older_by_a_little_and_comes_later_is_not_lost():
    first, late, last = LogLine(10.002, "out"), LogLine(10.001, "err", is_stderr=True), LogLine(10.003, "out")
    position = Position()
    assert read(position, [first], 1) == [first]

    assert read(position, [first, late, last], 3) == [late, last]


def test_a_clock_that_was_put_back_while_reading_hides_nothing():
    position = Position()
    before = [LogLine(5000.0 + number, "x") for number in range(3)]
    after = [LogLine(100.0 + number, "y") for number in range(3)]
    assert read(position, before + after[:2], 5) == before + after[:2]

    assert read(position, [*before, *after], 6)[-1] == after[-1]
    assert position.at == 102.0


def test_a_clock_that_was_ahead_before_a_start_hides_nothing():
    position = Position()
    read(position, [LogLine(9_000_000.0, "future")], 1)

    assert position.resume(NOW, NOW - 60) == NOW - 60


def test_nothing_older_than_wanted_is_read():
    position = Position()
    read(position, [LogLine(100.0, "x")], 1)
    assert position.resume(NOW, NOW - 3600) == NOW - 3600


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(), lambda some: st.lists(some, max_size=4)
    )
)
def test_garbage_on_disk_is_a_fresh_position_or_one_that_works(kept):
    position = Position.from_written(kept)
    position.resume(NOW, 0.0)
    position.read(LogLine(5.0, "x"))
