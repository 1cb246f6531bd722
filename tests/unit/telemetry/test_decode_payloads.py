"""Joined decoding is quick, and no payload may reach into another."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iotistic.telemetry.decode.payloads import PayloadDecoder


class Point(msgspec.Struct):
    v: float | str | None = None


decoder = PayloadDecoder(Point)

HOSTILE = [
    [b'{"v":1},{"v":666,"x":[1', b'{"v":20}', b'2]},{"v":3}'],
    [b'{"v":1,"y":"}', b'{"v":20}', b'{","v":666}'],
    [b'{"v":1},{"v":2', b'"x":3}'],
    [b'{"v":1},{"v":2}', b" ", b'{"v":3}'],
    [b'{"v":1}, {"v":666}', b"", b'{"v":20}'],
    [b'{"v":"\\"}', b'{"v":20}', b'{"v":"}'],
    [b'{"v":1}\n', b'{"v":2}', b"\n"],
    [b'{"v":"}', b'{"v":2,"w":"x"}'],
    [b'{"v":1,"w":"}', b'{"}', b'{"v":2}'],
]


@pytest.mark.parametrize("payloads", HOSTILE)
def test_a_hostile_payload_changes_nothing_for_its_neighbours(payloads):
    values, places, bad = decoder.decode(payloads)

    alone = {}
    for place, payload in enumerate(payloads):
        one, kept, _ = decoder.decode([payload])
        alone |= {place: one[0].v} if kept else {}
    assert dict(zip(places, (value.v for value in values), strict=True)) == alone
    assert {place for place, _ in bad} == set(range(len(payloads))) - set(places)


fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b",", b":", b'"v"', b"1", b"\\", b" ", b"\n", b'{"v":1}', b'{"v":"x"}']
)
payload_lists = st.lists(
    st.one_of(st.lists(fragments, max_size=8).map(b"".join), st.just(b'{"v":20}')), min_size=1, max_size=8
)


@given(payload_lists)
@example([b'{"v":1}{"v":1}', b""])  # the last payload has no first character
def test_a_batch_gives_exactly_what_each_payload_gives_alone(payloads):
    values, places, _ = decoder.decode(payloads)

    expected = {}
    for place, payload in enumerate(payloads):
        try:
            expected[place] = msgspec.json.decode(payload, type=Point).v
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    assert dict(zip(places, (value.v for value in values), strict=True)) == expected


def test_bad_payloads_are_found_among_many_good_ones():
    payloads = [b'{"v":%d}' % n for n in range(1000)]
    payloads[17], payloads[900] = b"not json", b'{"v":[]}'

    values, places, bad = decoder.decode(payloads)

    assert [place for place, _ in bad] == [17, 900]
    assert [value.v for value in values] == places


def test_a_payload_nested_beyond_reason_is_refused():
    _, _, bad = decoder.decode([b'{"v":' + b"[" * 100_000, b'{"v":1}'])

    assert [place for place, _ in bad] == [0]


def test_nesting_beyond_reason_inside_one_object_spares_the_neighbours():
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    values, places, bad = decoder.decode([b'{"v":1}', deep, b'{"v":2}'])

    assert ([value.v for value in values], places) == ([1, 2], [0, 2])
    assert [place for place, _ in bad] == [1]
