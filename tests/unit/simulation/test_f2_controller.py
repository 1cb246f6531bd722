import itertools
import json
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.f2 import COMPONENTS, CommandInvalid, Mode, TopicInvalid, parse_timestamp, parse_topic
from iotistic.contracts.mac import parse_mac
from iotistic.contracts.modbus import parse_frame
from iotistic.simulation.f2.climate import ClimateSensor
from iotistic.simulation.f2.controller import SENSORS, Controller, PayloadFormat

MAC = parse_mac("aa:bb:cc:dd:ee:01")
NOON_US = parse_timestamp("2026-03-02 12:00:00.000000")
SECOND_US = 1_000_000
STRIKE = b"cmnd/f2-aabbccddee01/access-control-mode/J1/strike-1"
SIREN = b"cmnd/f2-aabbccddee01/alarm-mode/J2/siren-2"
READER = b"cmnd/f2-aabbccddee01/access-control-mode/J1/reader-1"


def controller(seed=1, **options):
    return Controller(MAC, seed=seed, **options)


def day_of(device, *, rounds=2000, every_s=30):
    return [
        message
        for number in range(rounds)
        for message in device.round(NOON_US + number * every_s * SECOND_US)
    ]


def told(message):
    return str(parse_topic(message.topic.decode()).label), json.loads(message.payload).get("status")


def test_the_same_seed_gives_the_same_messages():
    assert day_of(controller(), rounds=200) == day_of(controller(), rounds=200)


def test_another_seed_and_another_device_give_other_messages():
    other = Controller(parse_mac("aabbccddee02"), seed=1)

    assert day_of(controller(), rounds=5) != day_of(controller(seed=2), rounds=5)
    assert day_of(controller(), rounds=5)[0].payload != day_of(other, rounds=5)[-1].payload


def test_a_day_has_every_mode_and_component_and_no_topic_outside_of_the_grammar():
    topics = [parse_topic(message.topic.decode()) for message in day_of(controller())]

    assert {(topic.mode, topic.component) for topic in topics} == {
        (mode, component) for mode in Mode for component in COMPONENTS[mode]
    }
    assert {topic.connector for topic in topics} == {"J1", "J2", "J3", "J4"}


def test_the_first_round_tells_all_states_and_every_sensor():
    messages = controller().round(NOON_US)

    assert len({message.topic for message in messages}) == len(messages) == 4 + 7 + SENSORS


def test_every_payload_has_its_time_and_frames_have_the_template_of_a_climate_sensor():
    frames = [
        parse_frame(json.loads(message.payload)["data"])
        for message in day_of(controller(), rounds=50)
        if b"/sensor-mode/" in message.topic
    ]

    assert len(frames) == 50 * SENSORS
    assert {frame[1:3].hex() for frame in frames} == {"030c"}
    assert all(10 < struct.unpack_from(">h", frame, 3)[0] / 100 < 35 for frame in frames)
    assert all(5 <= struct.unpack_from(">H", frame, 5)[0] / 100 <= 99 for frame in frames)
    assert all(400 <= struct.unpack_from(">H", frame, 7)[0] <= 5000 for frame in frames)


def test_json_sensors_name_one_quantity():
    messages = controller(payload_format=PayloadFormat.JSON).round(NOON_US)
    reading = json.loads(messages[-1].payload)

    assert set(reading) == {"timestamp", "value", "unit", "sensor_id"}
    assert (reading["unit"], reading["sensor_id"]) == ("°C", "temperature")


@given(st.integers(0, 2**32), st.integers(0, 4 * 10**15), st.integers(0, 30))
def test_air_stays_within_what_a_sensor_can_say(seed, time_us, people):
    air = ClimateSensor(1, random.Random(seed)).measure(time_us, people=people)

    assert -40 <= air.temperature <= 85
    assert 0 <= air.humidity <= 100
    assert 400 <= air.co2 <= 5000
    assert len(parse_frame(air.frame(1))) == 3 + 12 + 2


def test_afternoons_are_warmer_than_nights_and_people_bring_co2():
    sensor = ClimateSensor(1, random.Random(5))
    night_us = parse_timestamp("2026-03-02 03:00:00.000000")
    afternoon = [sensor.measure(NOON_US + 3 * 3600 * SECOND_US, people=0) for _ in range(100)]
    night = [sensor.measure(night_us, people=0) for _ in range(100)]
    crowded = [sensor.measure(night_us, people=10) for _ in range(100)]

    assert sum(air.temperature for air in afternoon) > sum(air.temperature for air in night) + 100
    assert sum(air.co2 for air in crowded) > sum(air.co2 for air in night) + 100 * 400


def openings(messages, component, key):
    """Return the times at which an input turned on."""
    found = [json.loads(message.payload) for message in messages if message.topic.endswith(component)]
    return [
        parse_timestamp(after["timestamp"])
        for before, after in itertools.pairwise(found)
        if after[key] and not before[key]
    ]


def test_a_door_opens_only_behind_its_strike():
    messages = controller_events(controller())
    strikes = [
        parse_timestamp(json.loads(message.payload)["timestamp"])
        for message in messages
        if told(message) == ("J1/strike-1", True)
    ]
    doors = openings(messages, b"door-sensors", "door-sensor-1")

    assert len(doors) > 20
    assert all(any(0 < door - strike < 2 * SECOND_US for strike in strikes) for door in doors)


def test_what_happened_is_told_in_the_order_of_its_time():
    stamps = [
        parse_timestamp(json.loads(message.payload)["timestamp"])
        for message in controller_events(controller())
    ]

    assert len(stamps) > 50
    assert all(earlier <= later for earlier, later in itertools.pairwise(stamps))


def controller_events(device):
    return [message for number in range(20_000) for message in device.events(NOON_US + number * SECOND_US)]


def test_a_strike_opens_for_its_period_and_ends_by_itself():
    device = controller()
    now = device.obey(STRIKE, b'{"power-flag": 1, "period": 7}', NOON_US)

    early = device.events(NOON_US + 6 * SECOND_US)
    late = device.events(NOON_US + 7 * SECOND_US)

    assert [told(message) for message in now.messages] == [("J1/strike-1", True)]
    assert now.messages[0].topic == b"stat/f2-aabbccddee01/access-control-mode/J1/strike-1"
    assert now.again_after_s == 7
    assert early == []
    assert [told(message) for message in late] == [("J1/strike-1", False)]


def test_a_strike_that_is_turned_off_does_not_end_twice():
    device = controller()
    device.obey(STRIKE, b'{"power-flag": 2}', NOON_US)
    off = device.obey(STRIKE, b'{"power-flag": 0}', NOON_US + SECOND_US)

    assert [told(message) for message in off.messages] == [("J1/strike-1", False)]
    assert device.events(NOON_US + 10 * SECOND_US) == []


def test_both_strikes_may_end_at_the_same_moment():
    device = controller()
    for strike in (STRIKE, STRIKE.replace(b"strike-1", b"strike-2")):
        device.obey(strike, b'{"power-flag": 2, "period": 3}', NOON_US)

    ended = device.events(NOON_US + 3 * SECOND_US)

    assert [told(message) for message in ended] == [("J1/strike-1", False), ("J1/strike-2", False)]


def test_a_siren_obeys_and_an_empty_payload_asks_for_its_state():
    device = controller()
    answers = [device.obey(SIREN, payload, NOON_US).messages for payload in (b"", b"1", b"", b"0", b"")]

    assert [told(messages[0])[1] for messages in answers] == [False, True, True, False, False]
    assert answers[0][0].topic == b"stat/f2-aabbccddee01/alarm-mode/J2/siren-2"


def test_a_reader_confirms_that_a_card_was_accepted():
    answer = controller().obey(READER + b"/success", b"", NOON_US).messages

    assert answer[0].topic == b"stat/f2-aabbccddee01/access-control-mode/J1/reader-1/success"
    assert json.loads(answer[0].payload)["status"] is True


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (STRIKE, b"on"),
        (STRIKE, b"[]"),
        (STRIKE, b"{}"),
        (STRIKE, b'{"power-flag": 3}'),
        (STRIKE, b'{"power-flag": true}'),
        (STRIKE, b'{"power-flag": 1, "period": 256}'),
        (STRIKE, b'{"power-flag": 1, "period": -1}'),
        (STRIKE, b'{"power-flag": 1.5}'),
        (STRIKE, b"\xff"),
        (STRIKE, b"[" * 100_000),
        (SIREN, b"2"),
        (SIREN.replace(b"J2", b"J1"), b"1"),
        (STRIKE.replace(b"J1", b"J3"), b""),
        (READER, b""),
        (b"cmnd/f2-aabbccddee01/sensor-mode/J3/sensor-1", b""),
        (b"cmnd/f2-aabbccddee01/alarm-mode/J2/motion-sensor-1", b"1"),
        (STRIKE.replace(b"cmnd", b"stat"), b""),
    ],
)
def test_what_is_no_command_is_refused(topic, payload):
    with pytest.raises(CommandInvalid):
        controller().obey(topic, payload, NOON_US)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_message_is_obeyed_or_refused(topic, payload):
    with pytest.raises((CommandInvalid, TopicInvalid)):
        controller().obey(topic, payload, NOON_US)


@given(st.binary(max_size=60))
def test_any_payload_to_a_strike_is_answered_or_refused(payload):
    device = controller()
    try:
        answered = device.obey(STRIKE, payload, NOON_US).messages
    except CommandInvalid as exc:
        answered = [exc]

    assert len(answered) == 1
