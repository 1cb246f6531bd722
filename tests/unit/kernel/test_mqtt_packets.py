import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.mqtt.packets import (
    Connack,
    Disconnect,
    PacketReader,
    Pingresp,
    ProtocolError,
    Puback,
    Publish,
    Suback,
    Unsuback,
    Will,
    encode_connect,
    encode_disconnect,
    encode_pingreq,
    encode_puback,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from iotistic.kernel.mqtt.reasons import is_failure, reason_name

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
topics = st.text(
    st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=60
).map(str.encode)
packet_ids = st.integers(1, 0xFFFF)


@st.composite
def publishes(draw):
    packet_id = draw(st.none() | packet_ids)
    return Publish(
        topic=draw(topics),
        payload=draw(st.binary(max_size=300)),
        qos=0 if packet_id is None else 1,
        retain=draw(st.booleans()),
        dup=packet_id is not None and draw(st.booleans()),
        packet_id=packet_id,
        user_properties=tuple(draw(st.lists(st.tuples(texts, texts), max_size=3))),
        correlation=draw(st.binary(max_size=20)),
    )


def encoded(message):
    return encode_publish(
        message.topic,
        message.payload,
        packet_id=message.packet_id,
        qos=message.qos,
        retain=message.retain,
        dup=message.dup,
        user_properties=message.user_properties,
        correlation=message.correlation,
    )


def read(data):
    return PacketReader().feed(bytes.fromhex(data))


@given(st.lists(publishes(), min_size=1, max_size=5), st.lists(st.integers(0, 3000), max_size=8))
def test_messages_come_back_whole_however_the_stream_is_cut(messages, cuts):
    stream = b"".join(encoded(message) for message in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = PacketReader()

    received = [
        packet for start, end in itertools.pairwise(edges) for packet in reader.feed(stream[start:end])
    ]

    assert received == messages


@given(publishes())
def test_a_message_that_arrives_byte_by_byte_comes_once_at_its_last_byte(message):
    reader = PacketReader()
    stream = encoded(message)

    early = [packet for byte in stream[:-1] for packet in reader.feed(bytes([byte]))]

    assert early == []
    assert reader.feed(stream[-1:]) == [message]


@given(packet_ids, st.sampled_from([0x00, 0x10, 0x80, 0x87, 0x97]))
def test_an_acknowledgement_comes_back_with_its_reason(packet_id, reason):
    assert PacketReader().feed(encode_puback(packet_id, reason)) == [Puback(packet_id, reason)]


@given(st.sampled_from([0x00, 0x04, 0x8B, 0x8E]), st.none() | st.integers(0, 0xFFFFFFFF))
def test_a_disconnect_comes_back_with_its_reason(reason, session_expiry_s):
    assert PacketReader().feed(encode_disconnect(reason, session_expiry_s)) == [Disconnect(reason)]


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_garbage_is_refused_with_one_kind_of_error(pieces):
    reader = PacketReader(max_packet_bytes=4096)
    with contextlib.suppress(ProtocolError):
        for piece in pieces:
            reader.feed(piece)


@given(publishes(), st.integers(0, 2000), st.integers(0, 255))
def test_a_message_with_one_byte_changed_never_breaks_the_reader(message, place, byte):
    stream = bytearray(encoded(message))
    stream[place % len(stream)] = byte
    with contextlib.suppress(ProtocolError):
        PacketReader(max_packet_bytes=4096).feed(stream)


def test_connect_has_the_bytes_of_the_standard():
    connect = encode_connect(client_id="ab", keepalive_s=60, clean_start=True)

    assert connect.hex(" ") == "10 0f 00 04 4d 51 54 54 05 02 00 3c 00 00 02 61 62"


def test_connect_carries_session_window_will_and_credentials_in_the_order_of_the_standard():
    connect = encode_connect(
        client_id="c",
        username="u",
        password="p",
        keepalive_s=30,
        clean_start=False,
        session_expiry_s=3600,
        receive_maximum=100,
        maximum_packet_bytes=65536,
        will=Will(b"t", b"gone", qos=1, retain=True, delay_s=5),
    )

    assert connect.hex(" ") == (
        "10 30 00 04 4d 51 54 54 05 ec 00 1e "
        "0d 11 00 00 0e 10 21 00 64 27 00 01 00 00 "
        "00 01 63 "
        "05 18 00 00 00 05 00 01 74 00 04 67 6f 6e 65 "
        "00 01 75 00 01 70"
    )


def test_publish_has_the_bytes_of_the_standard():
    assert encode_publish(b"a/b", b"hi", packet_id=None, qos=0).hex(" ") == "30 08 00 03 61 2f 62 00 68 69"
    assert encode_publish(b"a", b"", packet_id=10, qos=1, retain=True).hex(" ") == "33 06 00 01 61 00 0a 00"
    assert encode_publish(b"a", b"", packet_id=10, qos=1, dup=True).hex(" ") == "3a 06 00 01 61 00 0a 00"


def test_subscribe_and_unsubscribe_have_the_bytes_of_the_standard():
    assert (
        encode_subscribe(7, [("a/#", 1), ("b", 0)]).hex(" ") == "82 0d 00 07 00 00 03 61 2f 23 01 00 01 62 00"
    )
    assert encode_unsubscribe(7, ["a/#"]).hex(" ") == "a2 08 00 07 00 00 03 61 2f 23"
    assert encode_pingreq().hex(" ") == "c0 00"


def test_a_length_of_two_bytes_is_written_and_read():
    stream = encode_publish(b"t", b"x" * 300, packet_id=None, qos=0)

    assert stream[1:3].hex(" ") == "b0 02"
    assert PacketReader().feed(stream)[0].payload == b"x" * 300


def test_connack_tells_what_the_broker_grants():
    answer = read(
        "20 22 01 00 1f 11 00 00 0e 10 21 00 14 24 01 13 00 0a 12 00 03 61 62 63 2a 00 27 00 00 10 00 1f 00 02 6f 6b"
    )

    assert answer == [
        Connack(
            session_present=True,
            reason=0,
            session_expiry_s=3600,
            receive_maximum=20,
            maximum_qos=1,
            maximum_packet_bytes=4096,
            server_keepalive_s=10,
            assigned_client_id="abc",
            reason_text="ok",
            shared_subscriptions=False,
        )
    ]


def test_answers_are_read_in_all_their_lengths():
    assert read("40 02 00 07") == [Puback(7, 0)]
    assert read("40 03 00 07 10") == [Puback(7, 0x10)]
    assert read("40 04 00 07 87 00") == [Puback(7, 0x87)]
    assert read("40 09 00 07 87 05 1f 00 02 6e 6f") == [Puback(7, 0x87)]
    assert read("90 05 00 07 00 01 87") == [Suback(7, (1, 0x87))]
    assert read("b0 05 00 07 00 00 11") == [Unsuback(7, (0, 0x11))]
    assert read("d0 00") == [Pingresp()]
    assert read("e0 00") == [Disconnect(0)]
    assert read("e0 01 8b") == [Disconnect(0x8B)]
    assert read("e0 06 8b 04 1f 00 01 78") == [Disconnect(0x8B, "x")]


@pytest.mark.parametrize(
    "stream",
    [
        "00 00",  # type 0 is reserved
        "10 00",  # CONNECT is not for a client
        "f0 00",  # AUTH was not asked for
        "41 02 00 07",  # flags of PUBACK are zero
        "40 02 00 00",  # identifier zero
        "40 01 07",  # too short for an identifier
        "40 03 00 07 33",  # unknown reason
        "40 05 00 07 00 00 00",  # a byte too many
        "40 05 00 07 00 01 1f",  # property ends early
        "90 03 00 07 00",  # no reasons
        "20 03 02 00 00",  # reserved flag
        "20 03 01 87 00",  # a session with a refusal
        "20 05 00 00 02 24 02",  # maximum QoS is 0 or 1
        "20 06 00 00 03 21 00 00",  # receive maximum zero
        "20 07 00 00 04 24 01 24 01",  # stands twice
        "20 06 00 00 03 23 00 01",  # topic alias is not a property of CONNACK
        "34 08 00 01 61 00 0a 00 68 69",  # QoS 2
        "36 08 00 01 61 00 0a 00 68 69",  # QoS 3
        "38 04 00 01 61 00",  # repeats a message of QoS 0
        "30 03 00 00 00",  # empty topic
        "30 04 00 01 2b 00",  # wildcard
        "30 04 00 01 ff 00",  # not UTF-8
        "30 04 00 01 00 00",  # NUL
        "30 06 00 03 ed a0 80 00",  # surrogate
        "30 07 00 01 61 03 23 00 01",  # topic alias
        "32 06 00 01 61 00 00 00",  # identifier zero
        "30 09 00 01 61 85 80 80 80 01 00",  # property length of five bytes
        "30 05 00 01 61 80 00",  # property length longer than needed
        "30 ff ff ff ff 01",  # packet length of five bytes
        "d0 01 00",  # a body where none belongs
    ],
)
def test_malformed_packets_are_refused(stream):
    with pytest.raises(ProtocolError):
        read(stream)


def test_a_packet_larger_than_allowed_is_refused_before_it_arrives():
    with pytest.raises(ProtocolError):
        PacketReader(max_packet_bytes=100).feed(bytes.fromhex("30 65"))


@pytest.mark.parametrize(
    "build",
    [
        lambda: encode_publish(b"", b"", packet_id=None, qos=0),
        lambda: encode_publish(b"a/+", b"", packet_id=None, qos=0),
        lambda: encode_publish(b"a" * 65536, b"", packet_id=None, qos=0),
        lambda: encode_publish(b"a", b"", packet_id=None, qos=1),
        lambda: encode_publish(b"a", b"", packet_id=1, qos=0),
        lambda: encode_publish(b"a", b"", packet_id=1, qos=2),
        lambda: encode_publish(b"a", b"", packet_id=0, qos=1),
        lambda: encode_publish(b"a", b"", packet_id=65536, qos=1),
        lambda: encode_publish(b"a", b"", packet_id=1, qos=1, user_properties=[("a\0", "b")]),
        lambda: encode_puback(0),
        lambda: encode_subscribe(1, []),
        lambda: encode_unsubscribe(1, []),
        lambda: encode_connect(client_id="\ud800", keepalive_s=1, clean_start=True),
        lambda: encode_connect(client_id="a", keepalive_s=65536, clean_start=True),
        lambda: encode_connect(client_id="a", keepalive_s=1, clean_start=True, receive_maximum=70000),
    ],
)
def test_what_the_standard_forbids_is_not_encoded(build):
    with pytest.raises(ProtocolError):
        build()


def test_reasons_have_names():
    assert reason_name(0x87) == "not_authorized"
    assert reason_name(0x77) == "reason_0x77"
    assert is_failure(0x80)
    assert not is_failure(0x10)
