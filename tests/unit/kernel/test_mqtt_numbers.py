"""Numbers in user properties: the quick way and the slow one say the same, and rubbish costs nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iotistic.contracts.stamps import parse_stamp_data
from iotistic.kernel.mqtt import fields
from iotistic.kernel.mqtt.cutting import cut
from iotistic.kernel.mqtt.numbers import ABSENT, UNREADABLE, NumberNames, read_numbers
from iotistic.kernel.mqtt.packets import encode_publish

NAMES = NumberNames(b"epoch", b"seq", b"S")
values = st.one_of(
    st.integers(0, 10**16 - 1).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789 -+._e:", max_size=18),
    st.tuples(st.integers(0, 10**17), st.integers(0, 10**17)).map(lambda pair: "{}:{}".format(*pair)),
    st.text(max_size=5).filter(lambda text: "\0" not in text),
)
pairs = st.lists(st.tuples(st.sampled_from(["epoch", "seq", "other", "epocs"]), values), max_size=4)


def read(*properties):
    data = b"".join(
        encode_publish(b"tele/x", b'{"value":1}', packet_id=1, qos=1, user_properties=one)
        for one in properties
    )
    return list(zip(*(column.tolist() for column in numbers_in(data)), strict=True))


def read_data(*correlations, properties=()):
    data = b"".join(
        encode_publish(b"x", b"", packet_id=1, qos=1, correlation=one, user_properties=properties)
        for one in correlations
    )
    return list(zip(*(column.tolist() for column in numbers_in(data)), strict=True))


def as_data(epoch, sequence, width):
    return b"S" + epoch.to_bytes(6, "big") + sequence.to_bytes(width, "big")


def numbers_in(data):
    messages = cut(data).messages
    return read_numbers(messages.data, messages.properties_start, messages.payload_start, NAMES)


def stamped(epoch, sequence):
    return (("epoch", str(epoch)), ("seq", str(sequence)))


def number_of(text):
    ok = 0 < len(text.encode()) <= 16 and set(text) <= set("0123456789")
    return int(text) if ok else None


def expected(properties):
    epochs, sequences = ([v for k, v in properties if k == name] for name in ("epoch", "seq"))
    if not epochs and len(sequences) == 1 and ":" in sequences[0]:
        epochs, sequences = ([text] for text in sequences[0].split(":", 1))
    numbers = [number_of(text) for text in (*epochs, *sequences)]
    readable = len(epochs) == len(sequences) == 1 and None not in numbers
    absent = (ABSENT, ABSENT) if not epochs + sequences else (UNREADABLE, UNREADABLE)
    return tuple(numbers) if readable else absent


def test_messages_without_properties_have_none():
    assert read((), (), ()) == [(ABSENT, ABSENT)] * 3


def test_numbers_of_every_width_are_read():
    wanted = [(10**width - 1, 10 ** (16 - width)) for width in range(1, 16)]

    assert read(*(stamped(*pair) for pair in wanted)) == wanted


def test_numbers_of_every_width_are_read_from_one_property():
    wanted = [(10**high - 1, 10**low - 1) for high in range(1, 17) for low in range(1, 17)]

    assert read(*((("seq", f"{high}:{low}"),) for high, low in wanted)) == wanted


def test_numbers_of_every_width_are_read_from_correlation_data():
    wanted = [(2 ** (6 * width) + 5, 2 ** (8 * width) - 7, width) for width in range(1, 8)]

    assert read_data(*(as_data(*one) for one in wanted)) == [one[:2] for one in wanted]


@given(st.lists(st.binary(max_size=16) | st.binary(min_size=6, max_size=14).map(b"S".__add__), min_size=1))
@example([b"S" + bytes(7), b"S" + bytes(6), b"S" + bytes(13), b"S" + bytes(14)])
def test_correlation_data_is_read_alike_alone_and_beside_other_properties(batch):
    alone = read_data(*batch)

    assert alone == [parse_stamp_data(data) or (ABSENT, ABSENT) for data in batch]
    assert read_data(*batch, properties=(("trace", "1"),)) == alone
    assert read_data(as_data(7, 8, 1), *batch) == [(7, 8), *alone]


def test_correlation_data_beside_a_stamp_in_user_properties_is_unreadable():
    assert read_data(as_data(7, 8, 1), properties=(("seq", "7:8"),)) == [(UNREADABLE, UNREADABLE)]


def test_correlation_data_of_a_request_is_no_stamp():
    request = b"\x08" + fields.binary(b"answers/here")
    properties = fields.binary_property(fields.Property.CORRELATION_DATA, as_data(7, 8, 1)) + request
    body = fields.binary(b"tele/x") + b"\0\1" + fields.varint(len(properties)) + properties
    numbers = numbers_in(b"\x32" + fields.varint(len(body)) + body)

    assert [column.tolist() for column in numbers] == [[ABSENT], [ABSENT]]


@given(st.lists(pairs, min_size=1, max_size=8))
@example([[("epoch", "1"), ("seq", "2")], []])
@example([[("epoch", "0"), ("seq", "0")], [("seq", "1")]])
@example([[("epoch", "12345678901234567"), ("seq", "1")]])
@example([[("seq", "1:2")], [("seq", "1:2"), ("epoch", "3")], [("seq", "1:2:3")], [("seq", ":2")]])
@example([[("seq", "1"), ("epoch", "2")], [("epoch", "1"), ("epoch", "1"), ("seq", "3")]])
def test_every_message_gets_its_own_numbers_or_none(batch):
    assert read(stamped(7, 8), *batch) == [(7, 8), *map(expected, batch)]


def test_messages_with_other_properties_have_none():
    assert read((("trace", "77"), ("span", "8"), ("x", "")), (("epocs", "1"), ("sex", "2"))) == [
        (ABSENT, ABSENT),
        (ABSENT, ABSENT),
    ]


def test_other_properties_beside_the_numbers_are_passed_over():
    usual = fields.user_properties(stamped(5, 6))
    expiry = fields.number_property(fields.Property.MESSAGE_EXPIRY, 60)
    topic, packet = fields.binary(b"tele/x"), bytearray()
    for properties in (expiry + usual, usual + expiry):
        body = topic + b"\0\1" + fields.varint(len(properties)) + properties + b"{}"
        packet += b"\x32" + fields.varint(len(body)) + body

    numbers = numbers_in(bytes(packet))

    assert [column.tolist() for column in numbers] == [[5, 5], [6, 6]]


@given(st.binary(min_size=1, max_size=60))
def test_properties_that_are_rubbish_are_unreadable_or_absent(rubbish):
    body = fields.binary(b"tele/x") + b"\0\1" + fields.varint(len(rubbish)) + rubbish + b"{}"
    packet = b"\x32" + fields.varint(len(body)) + body

    numbers = numbers_in(packet)

    assert numbers[0].tolist() == numbers[1].tolist()
    assert numbers[0][0] in (ABSENT, UNREADABLE)


def test_names_that_do_not_fill_their_words_are_refused():
    with pytest.raises(ValueError, match="five and three"):
        NumberNames(b"epoch", b"sequence", b"S")
