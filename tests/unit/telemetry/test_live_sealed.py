"""Frames over a channel that loses some: the receiver knows how many rows it did not get."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.live.frames import (
    FrameInvalid,
    LostFrame,
    ReadingsFrame,
    StatsFrame,
    encode_readings,
    encode_stats,
)
from iotistic.telemetry.live.sealed import Sealer, Unsealer


def readings(rows: int) -> bytes:
    numbers = np.arange(rows)
    return encode_readings(0, numbers.astype("i8"), numbers.astype("i4"), numbers.astype("i4"), numbers * 1.0)


def told(frames) -> list[int]:
    return [frame.rows for frame in frames if isinstance(frame, LostFrame)]


def test_nothing_is_lost_when_everything_arrives():
    sealer, unsealer = Sealer(), Unsealer()

    assert [told(unsealer.open(sealer.seal(readings(rows)))) for rows in (3, 0, 7)] == [[], [], []]


def test_the_next_frame_tells_what_was_lost_before_it():
    sealer, unsealer = Sealer(), Unsealer()
    unsealer.open(sealer.seal(readings(3)))
    sealer.seal(readings(5))
    sealer.skip(2)

    assert told(unsealer.open(sealer.seal(encode_stats(StatsFrame("w"))))) == [7]


def test_a_sender_met_for_the_first_time_has_lost_nothing_for_us():
    sealer = Sealer()
    sealer.seal(readings(5))

    assert told(Unsealer().open(sealer.seal(readings(1)))) == []


def test_senders_are_counted_apart():
    one, two, unsealer = Sealer(), Sealer(), Unsealer()
    unsealer.open(one.seal(readings(1)))
    unsealer.open(two.seal(readings(1)))
    one.seal(readings(4))

    assert told(unsealer.open(two.seal(readings(1)))) == []
    assert told(unsealer.open(one.seal(readings(1)))) == [4]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30))
def test_rows_seen_and_rows_told_as_lost_are_all_rows(frames):
    sealer, unsealer = Sealer(), Unsealer()
    unsealer.open(sealer.seal(readings(1)))
    seen = lost = 0
    for rows, arrives in [*frames, (0, True)]:
        message = sealer.seal(readings(rows))
        for frame in unsealer.open(message) if arrives else ():
            seen += len(frame) if isinstance(frame, ReadingsFrame) else 0
            lost += frame.rows if isinstance(frame, LostFrame) else 0

    assert seen + lost == sum(rows for rows, _ in frames)


@pytest.mark.parametrize("message", [b"", b"x" * 23, b"\xff" * 24, b"\0" * 24 + b"\1\0\0\0\1"])
def test_what_is_no_message_is_refused(message):
    with pytest.raises(FrameInvalid):
        Unsealer().open(message)


def test_a_message_without_a_frame_tells_nothing():
    assert Unsealer().open(b"\0" * 24) == []


def test_many_senders_do_not_fill_the_memory():
    unsealer = Unsealer()
    for _ in range(1_500):
        unsealer.open(Sealer().seal(readings(1)))

    assert len(unsealer._seen) == 1_000
