"""Two whole numbers that senders write beside the payload, read for thousands of messages at once.

Most messages that carry them carry nothing else: both as correlation data, both in one user property, or one
property each. Those are read by array arithmetic (`number_layouts`). Every other layout in which they may stand is
read property by property, which is correct and some fifty times slower. Messages without properties cost one
comparison a batch.
"""

import numpy as np

from iotistic.kernel.mqtt.cutting import Offsets
from iotistic.kernel.mqtt.fields import PUBLISH_PROPERTIES, FieldReader, Properties, Property, ProtocolError
from iotistic.kernel.mqtt.number_layouts import (
    ABSENT,
    FIRST_BYTES,
    MOST_DIGITS,
    SECOND_BYTES,
    SHORTEST_BINARY,
    SHORTEST_JOINED,
    SHORTEST_USUAL,
    UNREADABLE,
    NumberNames,
    Numbers,
    read_binary,
    read_joined,
    read_usual,
)

__all__ = ["ABSENT", "UNREADABLE", "NumberNames", "Numbers", "read_numbers"]

_LAYOUTS = ((read_binary, SHORTEST_BINARY), (read_joined, SHORTEST_JOINED), (read_usual, SHORTEST_USUAL))
_CORRELATION_HEAD = bytes([Property.CORRELATION_DATA, 0])
_DECIMAL = frozenset(b"0123456789")


def read_numbers(data: bytes, start: Offsets, end: Offsets, names: NumberNames) -> tuple[Numbers, Numbers]:
    """Return both numbers of each message; its properties stand from `start` to `end` in `data`.

    Decimal numbers have 1 to 16 digits; ABSENT and UNREADABLE stand in both places. A call costs a tenth of a
    millisecond before its first message, so many are better read together.
    """
    length = end - start
    if len(length) and length.min() >= SHORTEST_BINARY:
        for read in (read_binary, read_joined):
            numbers = read(data, start, end, names)
            if numbers is not None and numbers[0].min() >= 0:
                return numbers  # all alike, as they mostly are
    carrying = length != 0
    first = np.full(len(start), ABSENT, np.int64)
    second = first.copy()
    for read, shortest in _LAYOUTS:
        chosen = np.flatnonzero(carrying & (length >= shortest))
        if not len(chosen):
            continue
        numbers = read(data, start[chosen], end[chosen], names)
        if numbers is None:
            continue
        usual = numbers[0] >= 0
        at = chosen[usual]
        first[at], second[at] = numbers[0][usual], numbers[1][usual]
        carrying[at] = False
    rest = np.flatnonzero(carrying)
    signs = (names.first, names.second, _CORRELATION_HEAD)
    for place, begin, stop in zip(rest.tolist(), start[rest].tolist(), end[rest].tolist(), strict=True):
        properties = data[begin:stop]
        if any(sign in properties for sign in signs):
            first[place], second[place] = _read_one(properties, names)
    return first, second


def _read_one(properties: bytes, names: NumberNames) -> tuple[int, int]:
    reader = FieldReader(properties)
    found: dict[bytes, bytes] = {}
    others = Properties()
    try:
        while not reader.ended:
            identifier = reader.varint()
            if identifier not in PUBLISH_PROPERTIES:
                return UNREADABLE, UNREADABLE
            if identifier != Property.USER_PROPERTY:
                reader.read_property(Property(identifier), others)
                continue
            name, value = reader.binary(), reader.binary()
            if name in found:
                return UNREADABLE, UNREADABLE
            if name in (names.first, names.second):
                found[name] = value
    except ProtocolError:
        return UNREADABLE, UNREADABLE
    binary = _binary(others, names)
    if binary is None:
        return _decimals(found, names)
    return (UNREADABLE, UNREADABLE) if found else binary


def _binary(properties: Properties, names: NumberNames) -> tuple[int, int] | None:
    """Return the numbers in correlation data; None when there are none, or the data belongs to a request."""
    raw = properties.binaries.get(Property.CORRELATION_DATA, b"")
    second_bytes = len(raw) - 1 - FIRST_BYTES
    if (
        raw[:1] != names.mark
        or second_bytes not in SECOND_BYTES
        or Property.RESPONSE_TOPIC in properties.texts
    ):
        return None
    return int.from_bytes(raw[1 : 1 + FIRST_BYTES], "big"), int.from_bytes(raw[1 + FIRST_BYTES :], "big")


def _decimals(found: dict[bytes, bytes], names: NumberNames) -> tuple[int, int]:
    if not found:
        return ABSENT, ABSENT
    texts = [found.get(name, b"") for name in (names.first, names.second)]
    if names.first not in found:
        texts = found[names.second].split(b":", 1)
    numbers = [_decimal(text) for text in texts]
    if len(numbers) == 1:
        return UNREADABLE, UNREADABLE
    return (UNREADABLE, UNREADABLE) if UNREADABLE in numbers else (numbers[0], numbers[1])


def _decimal(text: bytes) -> int:
    return int(text) if 0 < len(text) <= MOST_DIGITS and set(text) <= _DECIMAL else UNREADABLE
