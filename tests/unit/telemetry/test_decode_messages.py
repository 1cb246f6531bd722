"""From topics and payloads to columns: every kind of message, and what is wrong with the others."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.contracts.modbus import build_frame, format_frame
from iotistic.telemetry.decode.decoder import Decoder, TimeWindow
from iotistic.telemetry.model import DeviceRef, Messages, SeriesRef

NOW = 1_795_255_200_000_000
MAC = DeviceRef("mac", "aabbccddee01")
F2 = "tele/f2-aabbccddee01"


def decode(*messages, decoder=None):
    decoder = decoder or Decoder()
    topics = [topic if isinstance(topic, bytes) else topic.encode() for topic, _ in messages]
    payloads = [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in messages]
    return decoder.decode(Messages(topics, payloads, NOW)), decoder.series.refs


def values(decoded, refs):
    return [
        (refs[series], time_us, value)
        for column in decoded.values
        for series, time_us, value in zip(
            column.series.tolist(), column.time_us.tolist(), column.value.tolist(), strict=True
        )
    ]


def reasons(decoded):
    return [(failure.message, failure.reason) for failure in decoded.failures]


def test_a_json_reading_keeps_the_devices_own_time():
    decoded, refs = decode(
        ("sensor/gw-1/boiler/temperature", {"timestamp": NOW - 5, "value": 21.5, "unit": "C"})
    )

    assert values(decoded, refs) == [
        (SeriesRef(DeviceRef("key", "gw-1"), "boiler/temperature"), NOW - 5, 21.5)
    ]


def test_a_short_sensor_topic_takes_its_device_from_the_payload():
    decoded, refs = decode(
        ("sensor/humidity", {"value": 40, "sensor_id": "s-1"}), ("sensor/humidity", {"value": 40})
    )

    assert values(decoded, refs) == [(SeriesRef(DeviceRef("key", "s-1"), "humidity"), NOW, 40.0)]
    assert reasons(decoded) == [(1, "decode.sensor_id_invalid")]


def test_two_sensors_on_one_topic_in_one_instant_are_two_series():
    body = {"timestamp": NOW, "value": 1}
    decoded, refs = decode(
        ("sensor/gw/t", body | {"sensor_id": "a"}), ("sensor/gw/t", body | {"sensor_id": "b"})
    )

    assert {ref.label for ref, _, _ in values(decoded, refs)} == {"t/a", "t/b"}


def test_a_uuid_names_a_registered_device():
    name = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
    decoded, refs = decode((f"sensor/{name}/t", {"value": 1}))

    assert values(decoded, refs)[0][0].device == DeviceRef("uuid", name.lower())


def test_an_agents_two_names_of_a_sensor_are_one_series():
    """`sensor/{uuid}/…` is the canonical one; a batch may come under either."""
    name = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    batch = {"sensor": "plc", "timestamp": NOW, "messages": [{"registerName": "t", "value": 1}]}
    decoded, refs = decode(
        (f"sensor/{name}/plc", batch),
        (f"iot/device/{name}/sensor/plc", {**batch, "timestamp": NOW + 1}),
        (f"sensor/{name}/plc", {"value": 2, "sensor_id": "t", "timestamp": NOW + 2}),
    )

    assert {(ref.device, ref.label) for ref, _, _ in values(decoded, refs)} == {
        (DeviceRef("uuid", name), "plc/t")
    }
    assert [value for _, _, value in values(decoded, refs)] == [1, 1, 2]


@pytest.mark.parametrize(("value", "number"), [(True, 1.0), (False, 0.0), (3, 3.0), (-0.5, -0.5)])
def test_booleans_are_stored_as_numbers(value, number):
    decoded, refs = decode(("sensor/a/b", {"value": value}))

    assert [v for _, _, v in values(decoded, refs)] == [number]


def test_text_is_an_event_also_when_it_looks_like_a_number():
    decoded, refs = decode(("sensor/a/b", {"value": "21.5"}), ("sensor/a/b", {"value": 1.0}))

    assert [(text.text, text.message) for text in decoded.texts] == [("21.5", 0)]
    assert [v for _, _, v in values(decoded, refs)] == [1.0]


def test_messages_without_a_time_each_get_one_of_their_own():
    decoded, refs = decode(*[("sensor/a/b", {"value": n}) for n in range(5)])

    assert [t - NOW for _, t, _ in values(decoded, refs)] == [0, 1, 2, 3, 4]


def test_readings_of_agents_without_any_time_never_displace_each_other():
    decoder = Decoder()
    body = {"messages": [{"registerName": "t", "value": n} for n in range(10)]}
    agent = ("iot/device/7c9e6679-7425-40de-944b-e07fc1f90ae7/sensor/plc", body)
    found = [values(*decode(agent, agent, decoder=decoder)) for _ in range(3)]

    times = [(ref, time_us) for batch in found for ref, time_us, _ in batch]
    assert len(set(times)) == len(times) == 60


def test_a_clock_that_was_set_back_by_hours_is_followed():
    decoder = Decoder()
    reading = ([b"sensor/gw/t"], [b'{"value": 1}'])
    ahead, right, again = (
        decoder.decode(Messages(*reading, at)).values[0].time_us[0] for at in (NOW + 3_600_000_000, NOW, NOW)
    )

    assert (ahead, right, again) == (NOW + 3_600_000_000, NOW, NOW + 1)


def test_strikes_sirens_and_motion_sensors_are_zero_or_one():
    decoded, refs = decode(
        ("stat/f2-aabbccddee01/access-control-mode/J1/strike-1", {"timestamp": NOW, "status": True}),
        (f"{F2}/alarm-mode/J2/motion-sensor-3", {"timestamp": NOW, "status": False}),
    )

    assert values(decoded, refs) == [
        (SeriesRef(MAC, "J1/strike-1"), NOW, 1.0),
        (SeriesRef(MAC, "J2/motion-sensor-3"), NOW, 0.0),
    ]


def test_a_door_message_gives_both_doors():
    decoded, refs = decode(
        (
            f"{F2}/access-control-mode/J1/door-sensors",
            {"timestamp": NOW, "door-sensor-1": True, "door-sensor-2": False},
        )
    )

    assert {(ref.label, value) for ref, _, value in values(decoded, refs)} == {
        ("J1/door-sensor-1", 1.0),
        ("J1/door-sensor-2", 0.0),
    }


def test_a_door_message_with_neither_door_is_a_failure():
    decoded, _ = decode((f"{F2}/access-control-mode/J1/exit-buttons", {"timestamp": NOW}))

    assert reasons(decoded) == [(0, "reading.value_missing")]


def test_a_card_is_a_text_reading():
    decoded, refs = decode((f"{F2}/access-control-mode/J1/reader-1", {"timestamp": NOW, "data": "card 0042"}))

    assert [(refs[t.series].label, t.text) for t in decoded.texts] == [("J1/reader-1", "card 0042")]


def test_a_sensor_sends_frames_or_values():
    hex_text = format_frame(build_frame(bytes(12)))
    decoded, refs = decode(
        (f"{F2}/sensor-mode/J3/sensor-2", {"timestamp": "2026-11-21 10:00:00.000001", "data": hex_text}),
        (f"{F2}/sensor-mode/J3/sensor-2", {"timestamp": NOW, "value": 22.5, "sensor_id": "temperature"}),
        (f"{F2}/sensor-mode/J3/sensor-2", {"timestamp": NOW}),
    )

    assert decoded.frames[0].time_us.tolist() == [NOW + 1]
    assert refs[decoded.frames[0].series[0]] == SeriesRef(MAC, "", 3, 2)
    assert values(decoded, refs) == [(SeriesRef(MAC, "temperature", 3, 2), NOW, 22.5)]
    assert reasons(decoded) == [(2, "reading.value_missing")]


def test_readings_of_an_agent_batch_never_displace_each_other():
    lines = ['{"value": 1}', '{"value": 2}', {"value": 3, "timestamp": NOW - 9}]
    decoded, refs = decode(
        ("iot/device/dev/sensor/modbus", {"sensor": "modbus", "timestamp": NOW, "messages": lines})
    )

    assert [(t - NOW, v) for _, t, v in values(decoded, refs)] == [(0, 1.0), (1, 2.0), (-9, 3.0)]


def test_a_bad_line_of_a_batch_spares_the_good_ones():
    lines = [
        "{",
        '{"deviceName": "p", "readings": [{"registerName": "x", "value": 5}, {"registerName": "y"}]}',
    ]
    decoded, refs = decode(("iot/device/dev/sensor/m", {"messages": lines}))

    assert [(ref.label, v) for ref, _, v in values(decoded, refs)] == [("m/p/x", 5.0)]
    assert {reason for _, reason in reasons(decoded)} == {
        "decode.agent_line_invalid",
        "reading.value_missing",
    }


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        ("nothing/here", {}, "decode.topic_unknown"),
        ("sensor", {"value": 1}, "decode.topic_unknown"),
        ("sensor//x", {"value": 1}, "decode.topic_unknown"),
        ("sensor/a/" + "x" * 300, {"value": 1}, "decode.topic_unknown"),
        (b"sensor/\xff/x", {"value": 1}, "decode.topic_unknown"),
        ("tele/f2-zz/sensor-mode/J1/sensor-1", {}, "decode.topic_unknown"),
        (f"{F2}/sensor-mode/J9/sensor-1", {}, "decode.topic_unknown"),
        (f"{F2}/alarm-mode/J1/sensor-1", {}, "decode.topic_unknown"),
        ("sensor/a/b", b"", "decode.payload_invalid"),
        ("sensor/a/b", b"\xff\xfe", "decode.payload_invalid"),
        ("sensor/a/b", b"[1]", "decode.payload_invalid"),
        ("sensor/a/b", {}, "decode.payload_invalid"),
        ("sensor/a/b", {"value": [1]}, "decode.payload_invalid"),
        ("sensor/a/b", {"value": None}, "reading.value_missing"),
        ("sensor/a/b", {"value": "x" * 1024}, "reading.text_too_long"),
        ("sensor/a/b", {"value": "a\0b"}, "reading.text_invalid"),
        ("sensor/a/b", {"value": 1, "timestamp": "soon"}, "reading.timestamp_invalid"),
        ("sensor/a/b", {"value": 1, "timestamp": "1990-01-01T00:00:00Z"}, "reading.too_old"),
        ("sensor/a/b", {"value": 1, "timestamp": "2199-01-01T00:00:00Z"}, "reading.in_future"),
        ("sensor/a/b", {"value": 1, "sensor_id": "x\ny"}, "decode.sensor_id_invalid"),
        ("sensor/a/b", {"value": 1, "sensor_id": ""}, "decode.sensor_id_invalid"),
    ],
)
def test_a_bad_message_says_why_and_spares_the_others(topic, body, reason):
    good = ("sensor/ok/t", {"value": 1})

    decoded, refs = decode(good, (topic, body), good)

    assert reasons(decoded) == [(1, reason)]
    assert [ref.device.key for ref, _, _ in values(decoded, refs)] == ["ok", "ok"]


def test_the_window_is_a_setting():
    decoder = Decoder(TimeWindow(past_us=1000, future_us=10))

    decoded, _ = decode(
        ("sensor/a/b", {"value": 1, "timestamp": NOW - 1001}),
        ("sensor/a/b", {"value": 1, "timestamp": NOW + 1 - 1000}),  # each is received a microsecond later
        ("sensor/a/b", {"value": 1, "timestamp": NOW + 2 + 11}),
        decoder=decoder,
    )

    assert reasons(decoded) == [(0, "reading.too_old"), (2, "reading.in_future")]


def test_endless_new_topics_do_not_grow_memory():
    decoder = Decoder(max_series=100)
    for n in range(1000):
        decode((f"sensor/dev-{n}/t", {"value": 1}), decoder=decoder)

    assert len(decoder.series) <= 101


topics = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda *parts: "/".join(parts).encode(),
        st.sampled_from(["tele", "stat", "cmnd", "sensor", "iot"]),
        st.sampled_from(["f2-aabbccddee01", "f2-x", "device", "a"]),
        st.sampled_from(["sensor-mode", "alarm-mode", "access-control-mode", "x"]),
        st.sampled_from(["J1", "J5", "sensor"]),
        st.sampled_from(["sensor-1", "strike-1", "reader-1", "door-sensors", "exit-buttons", "modbus"]),
    ),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(
    [
        "timestamp",
        "value",
        "data",
        "status",
        "sensor_id",
        "door-sensor-1",
        "exit-button-2",
        "messages",
        "readings",
    ]
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(keys, json_values, max_size=5).map(lambda body: json.dumps(body).encode()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(topics, bodies), min_size=1, max_size=6))
def test_every_message_gives_a_reading_or_a_reason(messages):
    decoded, refs = decode(*messages)

    told = {failure.message for failure in decoded.failures} | {text.message for text in decoded.texts}
    for column in (*decoded.values, *decoded.frames):
        told |= set(column.message.tolist())
        assert (column.series >= 0).all()
        assert (column.series < len(refs)).all()
    assert told == set(range(len(messages)))


def test_messages_that_were_received_apart_get_their_own_times_each_time_they_are_read():
    decoder = Decoder()
    topics = [b"sensor/a/b", b"iot/device/gw/sensor/s", b"sensor/a/b"]
    two = b'{"messages":[{"name":"x","value":2},{"name":"x","value":3}]}'
    each_us = np.array([NOW, NOW + 500, NOW - 70])
    batch = Messages(topics, [b'{"value":1}', two, b'{"value":4}'], NOW, each_us=each_us)

    once, again = decoder.decode(batch), decoder.decode(batch)

    assert sorted(t for part in once.values for t in part.time_us.tolist()) == [
        NOW - 70,
        NOW,
        NOW + 500,
        NOW + 501,
    ]
    assert [part.time_us.tolist() for part in again.values] == [part.time_us.tolist() for part in once.values]
