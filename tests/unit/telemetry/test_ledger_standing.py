"""Where a gap stands, by what is known: a stage is named only when it may hold the message, and never missed."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.telemetry.ledger.healing import Bucket, healing
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.ledger.standing import Clock, Evidence, Sender, holders, stand

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
ONLINE = Sender(NOON + dt.timedelta(hours=1))
OFFLINE_BEFORE = NOON + dt.timedelta(minutes=50)


def after(seconds):
    return NOON + dt.timedelta(seconds=seconds)


def clock(stage, *looks, part="0"):
    """Looks as (seen, clear) in seconds after noon."""
    looked_at = looks[-1][0] if looks else 3600
    return Clock(
        stage, part, after(looked_at), 0, tuple((after(seen), after(clear)) for seen, clear in looks)
    )


BROKER = clock(Stage.BROKER, (20, 10))
RAW = clock(Stage.RAW_TOPIC, (30, 25))
PROCESSED = clock(Stage.PROCESSED_TOPIC, (40, 35))


def test_a_message_is_followed_from_stage_to_stage():
    assert holders([BROKER, RAW, PROCESSED], NOON) == []
    assert holders([BROKER, RAW, PROCESSED], after(9.5)) == [Stage.BROKER]
    assert holders([BROKER, RAW, clock(Stage.PROCESSED_TOPIC, (29, 29))], NOON) == [Stage.PROCESSED_TOPIC]
    assert holders([BROKER, clock(Stage.RAW_TOPIC, (30, 15)), PROCESSED], NOON) == [Stage.RAW_TOPIC]


def test_one_part_that_is_behind_is_enough():
    behind = clock(Stage.RAW_TOPIC, (31, -60), part="1")

    assert holders([BROKER, RAW, behind, PROCESSED], NOON) == [Stage.RAW_TOPIC]
    assert holders([clock(Stage.RAW_TOPIC)], NOON) == [Stage.RAW_TOPIC]


def test_what_left_a_stage_since_it_was_looked_at_may_be_in_the_next():
    busy, dead = clock(Stage.RAW_TOPIC, (36, -60)), clock(Stage.RAW_TOPIC, (20, -60))

    assert holders([busy, PROCESSED], NOON) == [Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC]
    assert holders([dead, PROCESSED], NOON) == [Stage.RAW_TOPIC]


def test_an_earlier_look_that_is_clear_counts_when_the_newest_is_too_late_for_the_next_stage():
    processor = clock(Stage.RAW_TOPIC, (30, 25), (50, 49))
    sink = clock(Stage.PROCESSED_TOPIC, (45, 44))

    assert holders([processor, sink], NOON) == []


@settings(deadline=None)
@given(
    gone_in=st.lists(st.floats(0, 100), min_size=3, max_size=3),
    lag=st.lists(st.floats(0, 50), min_size=3, max_size=3),
    every=st.floats(1, 20),
    until=st.floats(10, 200),
)
def test_the_stage_that_held_a_message_at_the_last_look_is_always_among_those_named(
    gone_in, lag, every, until
):
    """A message comes at 0 and stays in each stage for a while; looks tell the truth, however late."""
    stages = (Stage.BROKER, Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC)
    came, clocks, holder = 0.0, [], None
    for stage, stays, behind in zip(stages, gone_in, lag, strict=True):
        left = came + stays
        looks, at = [], 0.0
        while at <= until:
            # While the message is here, nothing behind it is clear; afterwards the stage may still be behind.
            looks.append((at, min(at, came) if at < left else max(came, at - behind)))
            at += every
        clocks.append(clock(stage, *looks))
        last = at - every
        if holder is None and came <= last < left:
            holder = stage
        came = left

    assert holder is None or holder in holders(clocks, NOON)


@pytest.mark.parametrize(
    ("evidence", "sender", "clocks", "stage"),
    [
        (Evidence(NOON), Sender(NOON, waiting=7), [BROKER], Stage.DEVICE_WAITING),
        (Evidence(NOON), ONLINE, [BROKER, RAW, PROCESSED], Stage.UNANSWERED),
        (Evidence(NOON), ONLINE, [], Stage.UNANSWERED),
        (Evidence(NOON), Sender(NOON), [BROKER], Stage.DEVICE_OFFLINE),
        (Evidence(NOON), Sender(NOON, can_be_asked=False), [BROKER], Stage.UNANSWERED),
        (Evidence(after(60)), ONLINE, [BROKER], Stage.BROKER),
        (Evidence(NOON, after(60)), ONLINE, [BROKER], Stage.BROKER),
        (Evidence(NOON, after(60)), ONLINE, [], Stage.PIPELINE),
        (Evidence(NOON, after(1)), ONLINE, [BROKER], Stage.BEFORE_BROKER),
        (Evidence(NOON, after(60)), Sender(NOON, waiting=7), [BROKER], Stage.BROKER),
    ],
)
def test_where_a_gap_stands_follows_the_evidence(evidence, sender, clocks, stage):
    found, words = stand(evidence, sender, clocks, OFFLINE_BEFORE)

    assert found is stage
    assert words


def test_words_say_what_cannot_be_told():
    _, behind = stand(Evidence(after(60)), ONLINE, [BROKER, RAW, PROCESSED], OFFLINE_BEFORE)
    _, blind = stand(Evidence(NOON), ONLINE, [RAW, PROCESSED], OFFLINE_BEFORE)

    assert "or was lost before the broker" in behind
    assert "the broker or Kafka before the processor or Kafka before the sink" in behind
    assert "the broker, which does not tell what waits in it" in blind


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.01, 1e6)), min_size=1, max_size=30))
def test_percentiles_of_healing_are_times_that_were_seen_and_never_too_small(parts):
    found = healing([Bucket(*part) for part in parts])
    each = sorted(seconds for count, seconds in parts for _ in range(count))

    assert found.max_s == pytest.approx(each[-1], abs=0.001)
    assert found.p50_s == pytest.approx(each[(len(each) + 1) // 2 - 1], abs=0.001)
    assert found.p50_s <= found.p99_s <= found.max_s
    assert healing([]) is None
