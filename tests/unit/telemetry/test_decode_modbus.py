"""Modbus replies: checksums, lengths, encodings, and the contract's worked example."""

import struct

import numpy as np
import pytest

from iotistic.contracts.modbus import build_frame, format_frame
from iotistic.telemetry.decode.frames import decode_frames
from iotistic.telemetry.decode.modbus import Encoding, FrameField, crc_is_right
from iotistic.telemetry.model import Decoded


def decode(*texts):
    out = Decoded()
    n = np.arange(len(texts))
    decode_frames(texts, n, n * 10, n, out)
    return out


def frame(*registers):
    return build_frame(struct.pack(f">{len(registers)}H", *registers))


def matrix(*frames):
    return np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1)


def test_the_worked_example_gives_123_42():
    octets = build_frame(bytes.fromhex("32 30 32 30 36 32 00 00 00 00 00 00"))
    shown = bytes.fromhex("01 03 0C 32 30 32 30 36 32")
    assert octets[: len(shown)] == shown
    field = FrameField(1, "t", offset=6, length=2, encoding=Encoding.INT16, decimals=2)

    assert field.extract(matrix(octets)).tolist() == [123.42]


@pytest.mark.parametrize(
    ("encoding", "code", "value"),
    [
        (Encoding.INT8, "b", -5),
        (Encoding.UINT8, "B", 250),
        (Encoding.INT16, "h", -12345),
        (Encoding.UINT16, "H", 54321),
        (Encoding.INT32, "i", -1_000_000),
        (Encoding.UINT32, "I", 4_000_000_000),
        (Encoding.FLOAT32, "f", 0.5),
    ],
)
@pytest.mark.parametrize(("little", "order"), [(False, ">"), (True, "<")])
def test_every_encoding_is_read_in_both_byte_orders(encoding, code, value, little, order):
    packed = struct.pack(order + code, value)
    field = FrameField(1, "x", 4, len(packed), encoding, little_endian=little)

    assert field.extract(matrix(build_frame(b"\xee" + packed + b"\xee"))).tolist() == [value]


def test_decimals_divide():
    field = FrameField(1, "x", 3, 2, Encoding.INT16, decimals=3)

    assert field.extract(matrix(frame(1500), frame(65535))).tolist() == [1.5, -0.001]


@pytest.mark.parametrize("form", [format_frame, lambda f: f.hex(), lambda f: f.hex(" ").lower()])
def test_hex_text_is_read_with_and_without_spaces(form):
    out = decode(form(frame(1, 2)), form(frame(3, 4)))

    assert out.failures == []
    assert out.frames[0].data[:, 4].tolist() == [1, 3]
    assert out.frames[0].time_us.tolist() == [0, 10]


def test_a_wrong_checksum_costs_only_its_own_message():
    broken = bytearray(frame(7))
    broken[-1] ^= 1

    out = decode(format_frame(frame(1)), format_frame(bytes(broken)), format_frame(frame(2)))

    assert [(f.message, f.reason) for f in out.failures] == [(1, "decode.crc_mismatch")]
    assert out.frames[0].message.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no hex", "decode.hex_invalid"),
        ("01 0", "decode.hex_invalid"),
        ("", "decode.frame_length"),
        ("01 03", "decode.frame_length"),
        ("00" * 300, "decode.frame_length"),
        (build_frame(b"\x02", function=0x83).hex(), "decode.modbus_exception"),
    ],
)
def test_what_is_no_reply_says_why(text, reason):
    out = decode(text, format_frame(frame(1)))

    assert [(f.message, f.reason) for f in out.failures] == [(0, reason)]
    assert [f.message.tolist() for f in out.frames] == [[1]]


def test_a_count_that_contradicts_the_length_is_refused():
    body = bytes([1, 3, 4, 0, 1])
    from iotistic.contracts.modbus import crc16

    out = decode((body + crc16(body).to_bytes(2, "little")).hex())

    assert [f.reason for f in out.failures] == ["decode.frame_length"]


def test_texts_of_one_length_with_spaces_elsewhere_do_not_shift_each_other():
    good = format_frame(frame(1))
    odd = good.replace(" ", "")
    odd = odd + " " * (len(good) - len(odd))

    out = decode(good, odd, good)

    assert out.failures == []
    assert sorted(place for f in out.frames for place in f.message.tolist()) == [0, 1, 2]
    assert {f.data.tobytes() for f in out.frames} == {frame(1) * 3}


def test_the_checksum_agrees_with_the_contract_for_many_lengths():
    for n in range(1, 100, 7):
        assert crc_is_right(matrix(build_frame(bytes(range(n))))).all()
