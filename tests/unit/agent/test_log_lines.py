"""Lines out of bytes: whatever parts they come in, they are the same."""

import itertools
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.engines.lines import CUT, MOST_BYTES, EngineSaid, FramedLines, PlainLines
from iotistic.agent.engines.port import LogLine

STDOUT, STDERR, SYSTEM = 1, 2, 3
TEXTS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=40)
LINES = st.lists(
    st.builds(LogLine, st.integers(1, 2_000_000_000_000_000).map(lambda us: us / 1e6), TEXTS, st.booleans()),
    max_size=20,
)
CUTS = st.lists(st.integers(0, 5000), max_size=30)


def stamp(at):
    whole = datetime.fromtimestamp(at, UTC)
    return (whole.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z ").encode()


def frame(source, payload):
    return struct.pack(">BxxxL", source, len(payload)) + payload


def framed(line):
    return frame(STDERR if line.is_stderr else STDOUT, stamp(line.at) + line.text.encode() + b"\n")


def parts(stream, cuts):
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in itertools.pairwise(edges)]


def once(lines):
    """Leave out what is said again to the nanosecond."""
    return list(dict.fromkeys(lines))


def fed(lines, pieces):
    found = [line for piece in pieces for line in lines.feed(piece)]
    return found + list(lines.end())


@given(LINES, CUTS)
def test_frames_give_the_same_lines_in_whatever_parts_they_come(lines, cuts):
    stream = b"".join(map(framed, lines))

    assert fed(FramedLines(), parts(stream, cuts)) == once(lines)


@given(LINES, CUTS)
def test_plain_lines_are_the_same_in_whatever_parts_they_come(lines, cuts):
    lines = [line._replace(is_stderr=False) for line in lines]
    stream = b"".join(stamp(line.at) + line.text.encode() + b"\r\n" for line in lines)

    assert fed(PlainLines(), parts(stream, cuts)) == once(lines)


def test_lines_that_docker_says_again_as_it_begins_a_new_file_are_left_out():
    first, second = stamp(1.0) + b"x\n", stamp(1.0).replace(b"000Z", b"001Z") + b"x\n"
    said = [first, second, first, second, stamp(2.0) + b"x\n"]

    assert [line.at for line in fed(FramedLines(), [frame(STDOUT, line) for line in said])] == [1.0, 1.0, 2.0]
    assert [line.at for line in fed(PlainLines(), said)] == [1.0, 1.0, 2.0]


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), TEXTS), min_size=1, max_size=10), CUTS)
def test_a_line_in_several_messages_is_one_line_and_the_other_stream_does_not_mix_in(pieces, cuts):
    stream = b"".join(frame(source, stamp(1.0) + text.encode()) for source, text in pieces)
    stream += frame(STDOUT, stamp(2.0) + b"\n") + frame(STDERR, stamp(2.0) + b"\n")
    found = fed(FramedLines(), parts(stream, cuts))
    wanted = {
        is_stderr: "".join(text for source, text in pieces if (source == STDERR) is is_stderr)
        for is_stderr in (False, True)
    }

    assert {line.is_stderr: line.text for line in found} == wanted


@given(st.binary(max_size=400), CUTS)
def test_garbage_is_lines_or_the_engines_word_and_nothing_worse(stream, cuts):
    try:
        found = fed(FramedLines(), parts(stream, cuts))
    except EngineSaid:
        found = []
    assert all(isinstance(line.text, str) for line in found + fed(PlainLines(), parts(stream, cuts)))


def test_a_character_that_is_split_between_messages_is_whole():
    euro = "€".encode()
    stream = frame(STDOUT, stamp(1.0) + b"a" + euro[:1]) + frame(STDOUT, stamp(1.0) + euro[1:] + b"\n")

    assert fed(FramedLines(), [bytes([byte]) for byte in stream]) == [LogLine(1.0, "a€")]


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
def test_a_line_that_is_too_long_is_cut_between_characters_and_says_so(letter):
    text = letter * MOST_BYTES
    pieces = [text.encode()[at : at + 16384] for at in range(0, len(text.encode()), 16384)]
    stream = b"".join(frame(STDOUT, stamp(1.0) + piece) for piece in pieces) + frame(
        STDOUT, stamp(1.0) + b"!\n"
    )
    (line,) = fed(FramedLines(), [stream])
    (plain,) = fed(PlainLines(), [stamp(1.0) + text.encode() + b"!\n"])

    assert line == plain
    assert line.text == letter * (MOST_BYTES // len(letter.encode())) + CUT


def test_what_docker_makes_of_a_character_at_its_own_border_is_left_out():
    payload = b"x" * (MOST_BYTES - 1) + "\ufffd".encode()
    stream = frame(STDOUT, stamp(1.0) + payload) + frame(STDOUT, stamp(1.0) + "\ufffdrest\n".encode())
    (line,) = fed(FramedLines(), [stream])

    assert line.text == "x" * (MOST_BYTES - 1) + CUT


def test_a_line_as_long_as_allowed_is_not_cut():
    text = "x" * MOST_BYTES
    assert fed(FramedLines(), [framed(LogLine(1.0, text))]) == [LogLine(1.0, text)]


def test_a_frame_of_four_gigabytes_takes_no_memory_before_it_comes():
    lines = FramedLines()
    list(lines.feed(struct.pack(">BxxxL", STDOUT, 0xFFFFFFFF)))
    for _ in range(100):
        list(lines.feed(b"x" * 65536))

    assert len(lines._message.content) < 2 * MOST_BYTES


def test_the_engines_own_word_is_no_line():
    with pytest.raises(EngineSaid, match="Error grabbing logs"):
        fed(FramedLines(), [frame(SYSTEM, b"Error grabbing logs: invalid character")])


def test_a_line_without_a_time_is_of_the_time_before():
    stream = stamp(5.0) + b"first\nsecond line\n"
    assert fed(PlainLines(), [stream]) == [LogLine(5.0, "first"), LogLine(5.0, "second line")]
