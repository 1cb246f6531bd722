"""Records of the pipeline over Kafka: what goes in comes out, and garbage costs only itself."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.telemetry.model import (
    DeadLetter,
    Deliveries,
    EventRow,
    Messages,
    Origin,
    Resolved,
    Rows,
    Stamps,
)
from iotistic.telemetry.transports.kafka.letters import Letter, decode_letters, encode_letters
from iotistic.telemetry.transports.kafka.raw_records import RawEncoder, decode_raw
from iotistic.telemetry.transports.kafka.readings import ReadingEncoder, partition_of
from iotistic.telemetry.transports.kafka.stored_readings import decode_readings

NOW = 1_795_255_200_000_000
GARBAGE = [None, b"", b"{", b"null", b"[]", b"{}", b"\xff", b'{"topic": 1}', b"[" * 100_000, b'"\\ud800"']
SENSOR = b"tele/f2-aabbccddee01/sensor-mode/J2/sensor-3"


def messages(*pairs, stamps=None):
    return Messages([topic for topic, _ in pairs], [payload for _, payload in pairs], NOW, stamps)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"sensor/a/b", SENSOR, b"iot/device/x/sensor/s"]), st.binary()), min_size=1
    )
)
def test_any_payload_survives_the_raw_topic(pairs):
    _, values = RawEncoder().encode(messages(*pairs))
    read = decode_raw(values, read_us=0)

    assert list(zip(read.messages.topics, read.messages.payloads, strict=True)) == pairs
    assert read.faults == []


def test_a_raw_record_says_what_its_topic_says_and_is_keyed_by_its_sender():
    keys, values = RawEncoder().encode(
        messages((SENSOR, b"{}"), (b"sensor/gw/t", b"{}"), (b"sensor/t", b"{}"))
    )
    record = json.loads(values[0])

    assert keys == [b"f2-aabbccddee01", b"gw", b"sensor/t"]
    assert [record[name] for name in ("topic_type", "device_mac", "mode", "connector", "component")] == [
        "tele",
        "aabbccddee01",
        "sensor-mode",
        "J2",
        "sensor-3",
    ]


def test_a_raw_record_says_how_the_message_was_published():
    batch = Messages([SENSOR] * 3, [b"1"] * 3, NOW, first=np.array([0x30, 0x32, 0x3B], np.uint8))
    records = [json.loads(value) for value in RawEncoder().encode(batch)[1]]

    assert [(record["qos"], record["retain"]) for record in records] == [(0, False), (1, False), (1, True)]


def test_every_message_is_received_at_a_time_of_its_own_with_room_for_its_readings():
    encoder, agent = RawEncoder(), b"iot/device/x/sensor/s"
    batch = messages((agent, b'{"messages":[{"value":1},{"value":2},{"value":3}]}'), (agent, b'{"value":4}'))
    received = [decode_raw(encoder.encode(batch)[1], read_us=0).messages.each_us.tolist() for _ in range(2)]

    flat = received[0] + received[1]
    assert flat == sorted(set(flat))
    assert flat[1] - flat[0] >= 3


def test_stamps_travel_with_the_messages_that_have_one():
    stamps = Stamps(np.array([7, -1]), np.array([3, -1]))
    _, values = RawEncoder().encode(messages((SENSOR, b"{}"), (SENSOR, b"{}"), stamps=stamps))
    read = decode_raw(values, read_us=0).messages

    assert "sequence" not in json.loads(values[1])
    assert read.stamps.epoch.tolist() == [7, -1]
    assert read.stamps.sequence.tolist() == [3, -1]


def test_another_writers_raw_record_needs_only_topic_and_payload():
    record = json.dumps({"topic": "sensor/a/b", "payload": {"value": 1}, "timestamp": "2026-11-21T10:00:00Z"})
    read = decode_raw([record.encode(), b'{"topic":"sensor/a/b","payload":"1"}'], read_us=5)

    assert read.messages.payloads == [b'{"value":1}', b"1"]
    assert read.messages.each_us.tolist() == [NOW, 5]


@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_in_the_raw_topic_costs_only_itself(value):
    _, good = RawEncoder().encode(messages((SENSOR, b"1"), (SENSOR, b"2")))
    read = decode_raw([good[0], value, good[1]], read_us=0)

    assert read.places == [0, 2]
    assert read.messages.payloads == [b"1", b"2"]
    assert [place for place, _ in read.faults] == [1]


def resolved(*, message, events=(), event_message=(), deliveries=None):
    count = len(message)
    rows = Rows(
        np.arange(1, count + 1, dtype=np.int32),
        np.full(count, 9, np.int32),
        NOW + np.arange(count),
        np.arange(count) + 0.5,
    )
    origin = Origin(np.array(message), np.full(count, 3, np.int32), list(event_message), [])
    return Resolved(rows, list(events), [], NOW, deliveries, origin)


def test_readings_come_back_with_their_stamp_on_the_last_of_each_message():
    deliveries = Deliveries(["mac:a", "mac:a"], np.array([1, 1]), np.array([4, 5]), 0, np.array([0, 1]))
    batch = resolved(
        message=[0, 1, 0],
        events=[EventRow(8, 9, NOW + 7, "card \u20ac")],
        event_message=[1],
        deliveries=deliveries,
    )
    out = ReadingEncoder("readings", partitions=4).encode(batch, messages((SENSOR, b""), (SENSOR, b"")))
    records = [json.loads(value) for value in out.values]
    read = decode_readings(out.values, read_us=0)

    assert [record.get("sequence") for record in records] == [None, 4, None, 5]
    assert [record["connector"] for record in records] == ["J2"] * 4
    assert len(set(out.partitions)) == 1
    assert out.keys[0] == b"1:9"
    assert sorted(read.rows.time_us.tolist()) == [NOW, NOW + 1, NOW + 2]
    assert sorted(read.rows.value.tolist()) == [0.5, 1.5, 2.5]
    assert read.events == [EventRow(8, 9, NOW + 7, "card \u20ac")]
    assert (read.deliveries.source, read.deliveries.sequence.tolist()) == (["mac:a", "mac:a"], [4, 5])
    assert read.received_us == NOW


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_the_same_on_the_other_side(numbers):
    batch = resolved(message=[0] * len(numbers))
    batch.rows.value[:] = numbers
    out = ReadingEncoder("readings", partitions=1).encode(batch, messages((SENSOR, b"")))

    assert decode_readings(out.values, read_us=0).rows.value.tolist() == numbers


READING = {"deviceid": 1, "datapointid": 1, "timestamp": "2026-11-21T10:00:00.000000Z", "value": 1.0}


@pytest.mark.parametrize(
    "value",
    [
        *GARBAGE,
        *(
            msgspec.json.encode(READING | change)
            for change in (
                {"deviceid": 0},
                {"deviceid": 2**31},
                {"value": None},
                {"text": "both"},
                {"value": None, "text": "a\0b"},
                {"value": None, "text": "x" * 1024},
                {"timestamp": "1804-01-01T00:00:00Z"},
                {"timestamp": "never"},
                {"received_at": -1},
            )
        ),
        b'{"deviceid":1,"datapointid":1,"timestamp":"2026-11-21","value":1e999}',
    ],
)
def test_garbage_in_the_processed_topic_costs_only_itself(value):
    good = msgspec.json.encode(READING)
    read = decode_readings([good, value, good], read_us=0)

    assert len(read.rows) == 2
    assert read.events == []
    assert [place for place, _ in read.faults] == [1]


def test_letters_come_back_whole_and_take_the_stamp_of_a_message_that_gave_nothing_else():
    letter = DeadLetter(b"\xff/topic", b"\0\xff", "decode.payload_invalid", "why \ud800", "raw/1/2")
    _, values = encode_letters([Letter(letter, "mac:a", 1, 2), Letter(letter)], received_us=NOW)
    letters, delivered = decode_letters([(value, "dead/0/0") for value in values])

    assert letters[0] == letter._replace(detail="why \\ud800")
    assert (delivered.source, delivered.sequence.tolist()) == (["mac:a"], [2])


@pytest.mark.parametrize("value", GARBAGE)
def test_a_letter_that_cannot_be_read_is_a_letter_itself(value):
    letters, delivered = decode_letters([(value, "dead/0/7")])

    assert letters[0].reason == "record.letter_invalid"
    assert letters[0].source == "dead/0/7"
    assert delivered is None


def test_a_device_stays_in_one_partition_whatever_it_sends():
    topics = [SENSOR, b"stat/f2-aabbccddee01/alarm-mode/J1/siren-1"]
    agents = [b"iot/device/u/sensor/a", b"iot/device/u/sensor/b"]

    assert len({partition_of(topic, 97) for topic in topics}) == 1
    assert len({partition_of(topic, 97) for topic in agents}) == 1
