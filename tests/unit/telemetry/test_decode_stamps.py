"""Stamps of messages: where they are read from, whose they are, and that rubbish costs nothing but itself."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.mqtt.cutting import cut
from iotistic.kernel.mqtt.deliveries import Delivery
from iotistic.kernel.mqtt.packets import encode_publish
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages, Stamps
from iotistic.telemetry.transports.buffer import Buffer, BufferLimits

NOW = 1_795_255_200_000_000
DEVICE = "f2-aabbccddee01"
MAC = "mac:aabbccddee01"
FINE = {"value": 1.5, "epoch": 7, "seq": 1}
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def decode(*pairs, stamps=None):
    topics = [topic.encode() for topic, _ in pairs]
    payloads = [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in pairs]
    columns = stamps and Stamps(*(np.array(column, np.int64) for column in zip(*stamps, strict=True)))
    return Decoder().decode(Messages(topics, payloads, NOW, columns))


def listed(decoded):
    found = decoded.deliveries
    return list(zip(found.source, found.epoch.tolist(), found.sequence.tolist(), strict=True))


def test_batches_without_stamps_have_no_deliveries():
    assert decode(("sensor/a/t", {"value": 1.0}), ("sensor/b/t", {"value": 2.0})).deliveries is None


@pytest.mark.parametrize(
    ("topic", "body", "source"),
    [
        ("sensor/pump/t", {"value": 1.0}, "key:pump"),
        (f"tele/{DEVICE}/sensor-mode/J1/sensor-1", {"value": 1.0, "sensor_id": "t"}, MAC),
        (f"tele/{DEVICE}/sensor-mode/J1/sensor-1", {"data": "01 03 02 00 01 79 84"}, MAC),
        (f"stat/{DEVICE}/access-control-mode/J1/strike-1", {"status": True}, MAC),
        (f"stat/{DEVICE}/access-control-mode/J1/door-sensors", {"door-sensor-1": True}, MAC),
        (f"stat/{DEVICE}/access-control-mode/J1/exit-buttons", {"exit-button-2": True}, MAC),
        (f"stat/{DEVICE}/access-control-mode/J1/reader-1", {"data": "card"}, MAC),
        (
            "iot/device/0d1b6b2a-6a50-4e4c-9d6f-2f6a3f1b8c11/sensor/modbus",
            {"sensor": "modbus", "messages": [{"name": "t", "value": 1.0}]},
            "uuid:0d1b6b2a-6a50-4e4c-9d6f-2f6a3f1b8c11",
        ),
    ],
)
def test_every_kind_of_payload_may_carry_its_stamp(topic, body, source):
    plain, stamped = decode((topic, body)), decode((topic, {**body, "epoch": 7, "seq": 12}))

    assert listed(stamped) == [(source, 7, 12)]
    assert plain.deliveries is None
    assert (len(stamped.values), len(stamped.texts), len(stamped.frames)) == (
        len(plain.values),
        len(plain.texts),
        len(plain.frames),
    )


@given(epoch=anything, seq=anything)
def test_whatever_stands_in_place_of_a_stamp_the_reading_is_kept(epoch, seq):
    hostile = {"value": 1.0, "epoch": epoch, "seq": seq}
    decoded = decode(("sensor/a/t", FINE), ("sensor/b/t", hostile), ("sensor/c/t", FINE))

    assert decoded.failures == []
    assert sorted(decoded.values[0].message.tolist()) == [0, 1, 2]
    assert {source for source, _, _ in listed(decoded)} >= {"key:a", "key:c"}


@pytest.mark.parametrize("number", [b"1e999", b"9" * 400, b"9" * 5000, b"-0", b"1.0", b"{}"])
def test_numbers_beyond_every_bound_cost_the_stamp_only(number):
    decoded = decode(
        ("sensor/a/t", b'{"value": 1.0, "epoch": %b, "seq": 1}' % number),
        ("sensor/b/t", b'{"value": 1.0, "epoch": 1, "seq": %b}' % number),
        ("sensor/c/t", FINE),
    )

    assert decoded.failures == []
    assert ("key:c", 7, 1) in listed(decoded)


@pytest.mark.parametrize(
    ("epoch", "seq"), [(7, -1), (-1, 7), (7, 2**53), (2**70, 1), (None, 7), ("7", "8"), (7, True), (7, 1.5)]
)
def test_a_stamp_that_cannot_be_believed_is_counted(epoch, seq):
    decoded = decode(("sensor/a/t", {"value": 1.0, "epoch": epoch, "seq": seq}))

    assert listed(decoded) == []
    assert decoded.deliveries.refused == 1


def test_a_list_in_place_of_a_number_does_not_fill_the_gap_of_a_neighbour():
    decoded = decode(
        ("sensor/a/t", {"value": 1.0, "epoch": [7, 8], "seq": [1, 2]}),
        ("sensor/b/t", {"value": 1.0}),
        ("sensor/c/t", FINE),
    )

    assert listed(decoded) == [("key:c", 7, 1)]


def test_a_lone_epoch_is_a_time_and_no_stamp():
    assert decode(("sensor/a/t", {"value": 1.0, "epoch": 1795255200})).deliveries is None


@pytest.mark.parametrize(
    "body", [b"not json", {"value": None, "epoch": 7, "seq": 3}, {"value": [], "epoch": 7, "seq": 3}]
)
def test_messages_that_become_dead_letters_keep_their_stamps(body):
    decoded = decode(("sensor/a/t", body), stamps=[(7, 3)])

    assert len(decoded.failures) == 1
    assert listed(decoded) == [("key:a", 7, 3)]


def test_a_payload_that_is_no_reading_keeps_the_stamp_in_it():
    assert listed(decode(("sensor/a/t", {"value": [], "epoch": 7, "seq": 3}))) == [("key:a", 7, 3)]


def test_topics_outside_of_the_grammar_still_name_their_sender():
    unknown = f"tele/{DEVICE}/no-such-mode/x"

    assert listed(decode((unknown, b"{}"), stamps=[(7, 3)])) == [(MAC, 7, 3)]


def test_a_stamp_whose_sender_nobody_can_name_is_counted():
    decoded = decode(("sensor/t", {"value": 1.0, "sensor_id": "x"}), stamps=[(7, 3)])

    assert decoded.failures == []
    assert decoded.deliveries.refused == 1


def test_a_stamp_beside_the_payload_goes_before_the_one_in_it():
    both = decode(("sensor/a/t", FINE), ("sensor/b/t", FINE), stamps=[(9, 4), (-1, -1)])

    assert listed(both) == [("key:a", 9, 4), ("key:b", 7, 1)]


@pytest.mark.parametrize("stamp", [(-2, -2), (2**60, 1), (5, 0)])
def test_stamps_beside_the_payload_that_cannot_be_believed_are_counted(stamp):
    decoded = decode(("sensor/a/t", {"value": 1.0}), ("sensor/b/t", FINE), stamps=[stamp, (1, 1)])

    assert listed(decoded) == [("key:b", 1, 1)]
    assert decoded.deliveries.refused == 1


def test_an_answer_about_deliveries_is_no_reading_and_no_failure():
    decoded = decode((f"stat/{DEVICE}/resend", b'{"epoch": 1, "gone": []}'), ("sensor/a/t", FINE))

    assert decoded.failures == []
    assert listed(decoded) == [("key:a", 7, 1)]


def test_reads_with_and_without_stamps_become_one_batch():
    parts = [
        cut(encode_publish(b"sensor/a/t", b"{}", packet_id=1, qos=1, user_properties=properties)).messages
        for properties in ((), (("epoch", "7"), ("seq", "3")), (("seq", "3"),), (("seq", "7:4"),))
    ]
    buffer = Buffer(BufferLimits())
    for part in parts:
        buffer.add(Delivery((part,), 1))

    messages, _ = buffer.take()

    assert messages.stamps is not None
    assert messages.stamps.sequence.tolist() == [-1, 3, -2, 4]
