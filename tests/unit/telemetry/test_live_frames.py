import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.live.frames import (
    EventsFrame,
    FrameInvalid,
    FrameReader,
    LiveEvent,
    LostFrame,
    ReadingsFrame,
    StatsFrame,
    encode_events,
    encode_lost,
    encode_readings,
    encode_stats,
    rows_in,
)


def batch(rows: int, seed: int = 0) -> ReadingsFrame:
    random = np.random.default_rng(seed)
    return ReadingsFrame(
        committed_at_us=1_700_000_000_000_000 + seed,
        timestamps=random.integers(-(2**62), 2**62, rows, dtype=np.int64),
        device_ids=random.integers(0, 2**31 - 1, rows, dtype=np.int32),
        datapoint_ids=random.integers(0, 2**31 - 1, rows, dtype=np.int32),
        values=random.normal(size=rows),
    )


def encoded(frame: ReadingsFrame) -> bytes:
    return encode_readings(
        frame.committed_at_us, frame.timestamps, frame.device_ids, frame.datapoint_ids, frame.values
    )


def in_pieces(data: bytes, size: int) -> list[object]:
    reader = FrameReader()
    return [frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])]


@given(rows=st.integers(0, 300), seed=st.integers(0, 1000), size=st.integers(1, 5000))
def test_a_batch_arrives_as_it_was_sent_whatever_the_pieces(rows: int, seed: int, size: int):
    sent = batch(rows, seed)

    [received] = in_pieces(encoded(sent), size)

    assert isinstance(received, ReadingsFrame)
    assert received.committed_at_us == sent.committed_at_us
    np.testing.assert_array_equal(received.timestamps, sent.timestamps)
    np.testing.assert_array_equal(received.device_ids, sent.device_ids)
    np.testing.assert_array_equal(received.datapoint_ids, sent.datapoint_ids)
    np.testing.assert_array_equal(received.values, sent.values)


def test_every_kind_of_frame_comes_back_in_order():
    events = EventsFrame(5, [LiveEvent(1, 2, 3, "Ünïcode \n card")])
    stats = StatsFrame("w1", messages_total=7, rows_total=9)

    received = in_pieces(
        encode_events(events) + encode_stats(stats) + encode_lost(2**40) + encode_stats(stats), 3
    )

    assert received == [events, stats, LostFrame(2**40), stats]


def test_a_kind_and_fields_of_a_newer_release_are_skipped():
    newer_kind = struct.pack("<IB", 4, 99) + b"abc"
    body = b'{"worker":"w","surprise":1}'
    newer_field = struct.pack("<IB", 1 + len(body), 3) + body

    assert in_pieces(newer_kind + newer_field, 1000) == [StatsFrame("w")]


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack("<IB", 0, 1),
        struct.pack("<IB", 2**32 - 1, 1),
        struct.pack("<IBqI", 13, 1, 0, 1000),
        struct.pack("<IB", 3, 2) + b"{]",
        struct.pack("<IB", 3, 3) + b"\xff\xfe",
        struct.pack("<IB", 3, 4) + b"ab",
        struct.pack("<IB", 3, 1) + b"ab",
    ],
)
def test_bytes_that_are_no_frame_are_refused(garbage: bytes):
    with pytest.raises(FrameInvalid):
        FrameReader().feed(garbage)


@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(data: bytes):
    reader = FrameReader()
    try:
        frames = reader.feed(data)
    except FrameInvalid:
        frames = []
    assert len(frames) <= len(data)


def test_rows_are_counted_without_decoding():
    assert rows_in(encoded(batch(17))) == 17
    assert rows_in(encode_stats(StatsFrame("w"))) == 0


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        encode_readings(0, np.zeros(2, "i8"), np.zeros(1, "i4"), np.zeros(2, "i4"), np.zeros(2))
