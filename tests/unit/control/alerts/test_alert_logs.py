"""Log lines: patterns, counts, sequences; in any batching the same."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from iotistic.control.alerts.conditions import LogCondition, Pattern
from iotistic.control.alerts.evaluate import Change, SeriesState
from iotistic.control.alerts.log_evaluate import LogLine, Matcher, evaluate_lines

SECOND = 1_000_000
ADAPTER = TypeAdapter(LogCondition)
FIRING, RESOLVED = Change.FIRING, Change.RESOLVED

PATTERN = {"type": "log_pattern", "match": {"text": "error"}, "quietS": 60}
COUNT = {"type": "log_count", "match": {"text": "error"}, "count": 3, "windowS": 10}
SEQUENCE = {"type": "log_sequence", "steps": [{"text": "start"}, {"text": "panic"}], "withinS": 10}


def told(condition, lines, until):
    """Return (change, second) of what lines (second, message) tell."""
    condition = ADAPTER.validate_python(condition)
    matcher = Matcher(condition)
    judged = [(at * SECOND, matcher.steps(LogLine("d", at, message))) for at, message in lines]
    _, found = evaluate_lines(condition, SeriesState(), judged, until * SECOND)
    return [(one.change, one.at_us // SECOND) for one in found]


def test_a_line_fires_and_quiet_ends_it():
    lines = [(1, "ok"), (2, "Error: disk"), (50, "error again"), (300, "error")]

    assert told(PATTERN, lines, 320) == [(FIRING, 2), (RESOLVED, 110), (FIRING, 300)]


def test_a_count_fires_with_the_line_that_completes_it():
    assert told(COUNT, [(at, "error") for at in (0, 8, 16, 17, 18)], 60) == [(FIRING, 17), (RESOLVED, 26)]


def test_lines_fire_in_their_order_only():
    assert told(SEQUENCE, [(1, "panic"), (2, "start"), (3, "ok"), (9, "panic")], 9) == [(FIRING, 9)]
    assert told(SEQUENCE, [(1, "start"), (12, "panic")], 20) == []
    assert told(SEQUENCE, [(1, "start panic")], 20) == []


def test_a_newer_beginning_counts():
    assert told(SEQUENCE, [(1, "start"), (9, "start"), (15, "panic")], 15) == [(FIRING, 15)]


def test_kinds_of_patterns():
    def matches(kind, text, message):
        condition = ADAPTER.validate_python({**PATTERN, "match": Pattern(kind=kind, text=text)})
        return Matcher(condition).steps(LogLine("d", 0, message)) == [True]

    assert matches("exact", "down", "down")
    assert not matches("exact", "down", "shut down")
    assert matches("keyword", "DOWN", "shut down now")
    assert matches("regex", r"E[0-9]+ at \w+", "got E42 at start")
    assert not matches("regex", "late$", "x" * 600 + "late")


def test_only_the_service_and_level_that_are_meant_concern():
    matcher = Matcher(ADAPTER.validate_python({**PATTERN, "service": "web", "level": "error"}))

    lines = [("web", "error"), ("web", "info"), ("db", "error")]
    assert [matcher.concerns(LogLine("d", 0, "m", service, level)) for service, level in lines] == [
        True,
        False,
        False,
    ]


@settings(max_examples=200, deadline=None)
@given(
    condition=st.sampled_from([PATTERN, COUNT, SEQUENCE]),
    lines=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["error", "start", "panic", "start panic", "ok"])),
        max_size=60,
    ),
    cuts=st.sets(st.integers(0, 60), max_size=8),
)
def test_lines_in_any_batches_tell_the_same(condition, lines, cuts):
    condition = ADAPTER.validate_python(condition)
    matcher = Matcher(condition)
    judged = [(at * SECOND, matcher.steps(LogLine("d", at, message))) for at, message in sorted(lines)]
    places = [0, *sorted(min(cut, len(judged)) for cut in cuts), len(judged)]
    live, state = [], SeriesState()
    for start, end in itertools.pairwise(places):
        until = judged[end][0] - 1 if end < len(judged) else 400 * SECOND
        state, found = evaluate_lines(condition, SeriesState.read(state.write()), judged[start:end], until)
        live += found
    _, whole = evaluate_lines(condition, SeriesState(), judged, 400 * SECOND)

    assert live == whole
