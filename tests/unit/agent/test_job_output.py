"""What is kept of an output: the beginning and the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.jobs.output import KeptOutput


def kept(limit, *chunks):
    output = KeptOutput(limit)
    for chunk in chunks:
        output.feed(chunk)
    return output


def test_what_fits_is_kept_whole():
    assert kept(10, b"hello", b"12345").text() == "hello12345"
    assert kept(10).text() == ""


def test_of_what_does_not_fit_the_middle_is_left_out():
    output = kept(10, b"hello", b"world", b"!", b"12345")
    assert output.text() == "hello\n[... 6 bytes left out ...]\n12345"
    assert output.total == 16


def test_a_character_that_was_cut_is_left_out_and_no_other():
    whole = "ä€𝄞" * 40
    for limit in range(2, 40):
        head, _, tail = kept(limit, whole.encode()).text().partition("\n[... ")
        assert whole.startswith(head)
        assert whole.endswith(tail.partition("...]\n")[2])


def test_bytes_that_are_no_text_are_replaced():
    assert kept(100, b"a\xff\0b\xc3").text() == "a\ufffd\ufffdb\ufffd"


@pytest.mark.parametrize(
    ("chunks", "lines"), [([], 0), ([b"a"], 1), ([b"a\n"], 1), ([b"a\n", b"b"], 2), ([b"\n\n"], 2), ([b"x" * 99, b"\n"], 1)]
)  # fmt: skip
def test_lines_are_counted(chunks, lines):
    assert kept(10, *chunks).lines == lines


@given(st.integers(2, 64), st.lists(st.binary(max_size=100), max_size=20))
def test_any_stream_is_bounded_and_its_ends_are_right(limit, chunks):
    output, whole, half = kept(limit, *chunks), b"".join(chunks), limit // 2

    assert output.total == len(whole)
    assert output.left_out == max(0, len(whole) - 2 * half)
    assert len(output._head) + len(output._tail) <= 3 * limit
    assert bytes(output._head) == whole[:half]
    assert (bytes(output._head) + bytes(output._tail))[-half:] == whole[-half:]
    assert output.lines == len(whole.split(b"\n")) - (whole[-1:] in (b"", b"\n"))
