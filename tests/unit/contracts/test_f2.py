import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts import f2
from iotistic.contracts.mac import parse_mac
from iotistic.contracts.modbus import FrameInvalid, build_frame, crc16, format_frame, parse_frame

MAC = parse_mac("aa:bb:cc:dd:ee:01")
PLACES = [(mode, component) for mode, components in f2.COMPONENTS.items() for component in components]


@given(st.sampled_from(f2.TopicKind), st.sampled_from(PLACES), st.sampled_from(f2.CONNECTORS))
def test_every_topic_comes_back_from_its_text(kind, place, connector):
    topic = f2.F2Topic(kind, MAC, place[0], connector, place[1])

    assert f2.parse_topic(str(topic)) == topic


def test_a_topic_names_connector_and_pin():
    topic = f2.parse_topic("tele/f2-aabbccddee01/sensor-mode/J3/sensor-6")

    assert (topic.connector_number, topic.position, topic.label) == (3, 6, "J3/sensor-6")
    assert f2.parse_topic("stat/f2-aabbccddee01/alarm-mode/J2/siren-1").position is None


def test_readers_have_a_topic_of_success():
    topic = f2.parse_topic("cmnd/f2-aabbccddee01/access-control-mode/J1/reader-2/success")

    assert topic.success
    assert topic.label == "J1/reader-2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tele",
        "tele/f2-aabbccddee01/sensor-mode/J1",
        "tele/f2-aabbccddee01/sensor-mode/J1/sensor-1/x",
        "tele/f2-aabbccddee01/sensor-mode/J1/sensor-1/success",
        "tele/f2-aabbccddee01/sensor-mode/J1/sensor-7",
        "tele/f2-aabbccddee01/sensor-mode/J5/sensor-1",
        "tele/f2-aabbccddee01/sensor-mode/j1/sensor-1",
        "tele/f2-aabbccddee01/alarm-mode/J1/sensor-1",
        "tele/f2-AABBCCDDEE01/sensor-mode/J1/sensor-1",
        "tele/f2-aa:bb:cc:dd:ee:01/sensor-mode/J1/sensor-1",
        "tele/f2-000000000000/sensor-mode/J1/sensor-1",
        "tele/f3-aabbccddee01/sensor-mode/J1/sensor-1",
        "data/f2-aabbccddee01/sensor-mode/J1/sensor-1",
        "tele/f2-aabbccddee01/party-mode/J1/sensor-1",
        "/tele/f2-aabbccddee01/sensor-mode/J1/sensor-1",
    ],
)
def test_what_is_outside_of_the_grammar_is_refused(text):
    with pytest.raises(f2.TopicInvalid):
        f2.parse_topic(text)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text):
    with pytest.raises(f2.TopicInvalid):
        f2.parse_topic(text)


def test_timestamps_are_utc_with_microseconds():
    assert f2.format_timestamp(1_769_903_999_000_001) == "2026-01-31 23:59:59.000001"
    assert f2.parse_timestamp("2026-01-31 23:59:59.000001") == 1_769_903_999_000_001


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0x4B37),  # the check value of CRC-16/MODBUS
        (bytes.fromhex("01 03 00 00 00 0A"), 0xCDC5),  # the usual request for ten registers
        (b"", 0xFFFF),
    ],
)
def test_crc_agrees_with_published_vectors(data, crc):
    assert crc16(data) == crc


@given(st.binary(max_size=250), st.integers(0, 255))
def test_frames_come_back_from_their_text(data, address):
    frame = build_frame(data, address=address)

    assert parse_frame(format_frame(frame)) == frame


def test_a_frame_is_printed_as_devices_do():
    assert format_frame(build_frame(bytes.fromhex("000A"))) == "01 03 02 00 0A 38 43"


@given(st.binary(min_size=1, max_size=30), st.integers(0, 1000), st.integers(1, 255))
def test_one_changed_byte_is_always_noticed(data, place, change):
    frame = bytearray(build_frame(data))
    frame[place % len(frame)] ^= change

    with pytest.raises(FrameInvalid):
        parse_frame(format_frame(frame))


@pytest.mark.parametrize(
    "text", ["", "01", "01 03", "01 03 0C", "zz", "01 03 02 00 0A 38 44", "01 03 02 00 0A 38"]
)
def test_what_is_no_frame_is_refused(text):
    with pytest.raises(FrameInvalid):
        parse_frame(text)
