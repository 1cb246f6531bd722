"""Cutting large reads into messages agrees with the ordinary reader, wherever the read ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.mqtt.cutting import cut
from iotistic.kernel.mqtt.packets import (
    PacketReader,
    ProtocolError,
    encode_puback,
    encode_publish,
)

PINGRESP = b"\xd0\x00"

messages = st.builds(
    lambda topic, payload, qos, properties: encode_publish(
        topic.encode(), payload, packet_id=7 if qos else None, qos=qos, user_properties=properties
    ),
    st.text("abc/é", min_size=1, max_size=20),
    st.one_of(st.binary(max_size=40), st.integers(100, 20_000).map(bytes)),
    st.sampled_from([0, 1]),
    st.lists(st.tuples(st.text("k", max_size=3), st.text("v", max_size=70)), max_size=3),
)
packets = st.lists(st.one_of(messages, st.just(PINGRESP), st.just(encode_puback(9))), max_size=12)


@given(packets, st.data())
def test_messages_are_the_same_however_the_stream_is_split(stream, data):
    octets = b"".join(stream)
    at = data.draw(st.integers(0, len(octets)))

    first = cut(octets[:at])
    second = cut(octets[first.consumed : at] + octets[at:])

    assert first.consumed + second.consumed == len(octets)
    found = [
        (topic, payload, packet_id or None)
        for part in (first.messages, second.messages)
        for topic, payload, packet_id in zip(
            part.topics(), part.payloads(), part.packet_id.tolist(), strict=True
        )
    ]
    expected = [p for p in PacketReader().feed(octets) if hasattr(p, "payload")]
    assert found == [(p.topic, p.payload, p.packet_id) for p in expected]
    others = PacketReader().feed(first.others + second.others)
    assert len(others) == len(stream) - len(expected)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_left_over_but_never_breaks_the_reader(octets):
    try:
        found = cut(octets)
    except ProtocolError:
        return
    assert found.consumed <= len(octets)
    assert len(found.messages.payloads()) == len(found.messages)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x32\xff\xff\xff\xff\x01",
        b"\x32\x03\x00\x09a" + bytes(3),
        b"\x32\x06\x00\x01a\x00\x01\x7f" + bytes(2),
    ],
)
def test_a_message_that_contradicts_itself_is_a_protocol_error(octets):
    with pytest.raises(ProtocolError):
        cut(octets)
