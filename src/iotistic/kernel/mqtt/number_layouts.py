"""Layouts of two whole numbers among the properties of a message that are read by array arithmetic.

    09 | 0 len | mark | six bytes | one to seven bytes          binary: correlation data, numbers big-endian
    26 | 0 len | second name | 0 len | digits | : | digits      joined: one user property, decimal
    26 | 0 len | first name | 0 len | digits | 26 | 0 len | second name | 0 len | digits       usual: two of them

Each reader takes the places where properties start and end, eight bytes a step, and says -1 for both numbers of a
message that has another layout.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iotistic.kernel.mqtt.cutting import Offsets

Numbers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]

ABSENT, UNREADABLE = -1, -2
"""In place of both numbers: the message has neither; or it has one alone, twice, or no whole number."""

MOST_DIGITS = 16
FIRST_BYTES = 6
"""Of the first number in correlation data."""
SECOND_BYTES = range(1, 8)
"""Of the second."""
SHORTEST_BINARY = 3 + 1 + FIRST_BYTES + 1
SHORTEST_JOINED = 8 + 3
SHORTEST_USUAL = 8 + 2 + 1 + 6 + 2 + 1

_WORD = 8
_NAME_BYTES = (5, 3)  # a head of eight bytes, and one of six with the length behind it
_LEADING_SEVEN = np.uint64((1 << 56) - 1)
_CORRELATION_HEAD = np.uint64(0x0009)  # the identifier, and the high byte of a length that is always small
_LEADING_TWO = np.uint64(0xFFFF)
_TRAILING_SIX = np.uint64((1 << 48) - 1)
_COLONS = np.uint64(0x3A3A3A3A3A3A3A3A)
_ONES, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@dataclass(frozen=True)
class NumberNames:
    """Names of the two properties: five and three ASCII characters, which fill the words they are read in.

    `mark` is the byte that correlation data with both numbers begins with.
    """

    first: bytes
    second: bytes
    mark: bytes

    def __post_init__(self) -> None:
        if (len(self.first), len(self.second)) != _NAME_BYTES:
            raise ValueError("the names have five and three characters")
        if len(self.mark) != 1:
            raise ValueError("the mark is one byte")

    @property
    def first_head(self) -> int:
        """The eight bytes that the first property begins with."""
        return int.from_bytes(b"\x26\0\x05" + self.first, "little")

    @property
    def second_head(self) -> int:
        """The seven bytes that the second begins with; the eighth is the count of its digits."""
        return int.from_bytes(b"\x26\0\x03" + self.second + b"\0", "little")


def read_binary(
    data: bytes, start: Offsets, end: Offsets, names: NumberNames
) -> tuple[Numbers, Numbers] | None:
    """Return the numbers of messages that have correlation data with both and nothing else; None if none has."""
    words = _words(data)
    fits = (words[start] & _LEADING_TWO) == _CORRELATION_HEAD
    if not fits.any():
        return None
    # Length, mark and first number are the eight bytes behind the first two.
    head = words[start + 2].byteswap()
    second_bytes = end - start - (SHORTEST_BINARY - 1)
    fits &= (second_bytes > 0) & (second_bytes < _WORD)
    expected = ((second_bytes + (1 + FIRST_BYTES)) << 8) | names.mark[0]
    fits &= (head >> np.uint64(48)).astype(np.int64) == expected
    unwanted = ((_WORD - np.clip(second_bytes, 1, _WORD - 1)) * 8).astype(np.uint64)
    first = (head & _TRAILING_SIX).astype(np.int64)
    second = (words[end - _WORD].byteswap() << unwanted >> unwanted).astype(np.int64)
    if fits.all():
        return first, second
    return np.where(fits, first, ABSENT), np.where(fits, second, ABSENT)


def read_joined(
    data: bytes, start: Offsets, end: Offsets, names: NumberNames
) -> tuple[Numbers, Numbers] | None:
    """Return the numbers of messages that have both in one user property; None if none has."""
    words = _words(data)
    head = words[start]
    fits = (head & _LEADING_SEVEN) == np.uint64(names.second_head)
    if not fits.any():
        return None
    length = (head >> np.uint64(56)).astype(np.int64)
    fits &= start + _WORD + length == end
    second_digits = _behind_colon(words, end)
    first_digits = length - 1 - second_digits
    fits &= (second_digits > 0) & (first_digits > 0) & (first_digits <= MOST_DIGITS)
    if not fits.all():
        first_digits, second_digits = np.where(fits, first_digits, 1), np.where(fits, second_digits, 1)
    # Both in one pass: for the few messages of a small batch, calls cost more than numbers.
    ends = np.concatenate((end - 1 - second_digits, end))
    value, ok = _decimals(words, ends, np.concatenate((first_digits, second_digits)))
    count = len(end)
    if fits.all() and ok.all():
        return value[:count], value[count:]
    fits &= ok[:count] & ok[count:]
    return np.where(fits, value[:count], ABSENT), np.where(fits, value[count:], ABSENT)


def _behind_colon(words: _Words, end: Offsets) -> Offsets:
    """Return how many characters (to 15) stand behind the first colon of the last eight or sixteen; -1 without."""
    behind = _WORD - 1 - _first_colon(words[end - _WORD])
    if (behind < 0).any():
        farther = 2 * _WORD - 1 - _first_colon(words[np.maximum(end - 2 * _WORD, 0)])
        behind = np.where(behind >= 0, behind, np.where(farther >= _WORD, farther, -1))
    return behind


def _first_colon(word: _Words) -> Offsets:
    """Return which of eight characters is the first colon; 8 and more when none is."""
    other = word ^ _COLONS
    # The lowest bit that is left stands in the first byte that is zero; what stands above may be carry.
    zeros = (other - _ONES) & ~other & _HIGH_BITS
    lowest = zeros & (~zeros + np.uint64(1))
    exponent = np.frexp(lowest.astype(np.float64))[1].astype(np.int64)
    return np.where(lowest != 0, exponent // _WORD - 1, 2 * _WORD)


def _words(data: bytes) -> _Words:
    """Return every place of the data as the eight bytes that begin there."""
    return np.ndarray((max(0, len(data) - _WORD + 1),), "<u8", data, strides=(1,))


def read_usual(data: bytes, start: Offsets, end: Offsets, names: NumberNames) -> tuple[Numbers, Numbers]:
    """Return the numbers of messages that have them in two properties, in this order."""
    words = _words(data)
    octets = np.frombuffer(data, np.uint8)
    first_digits = octets[start + 9].astype(np.int64)
    fits = (words[start] == np.uint64(names.first_head)) & (octets[start + 8] == 0)
    fits &= (first_digits > 0) & (first_digits <= MOST_DIGITS)
    second_head = start + 10 + first_digits
    fits &= second_head + _WORD < end
    if not fits.all():
        # What follows is read for all; where nothing fits, from a place that surely exists.
        second_head = np.where(fits, second_head, start)
        first_digits = np.where(fits, first_digits, 1)
    head = words[second_head]
    second_digits = (head >> np.uint64(56)).astype(np.int64)
    fits &= (head & _LEADING_SEVEN) == np.uint64(names.second_head)
    fits &= (second_digits > 0) & (second_digits <= MOST_DIGITS)
    fits &= second_head + _WORD + second_digits == end
    second_digits = np.where(fits, second_digits, 1)
    first, first_ok = _decimals(words, start + 10 + first_digits, first_digits)
    second, second_ok = _decimals(words, end, second_digits)
    fits &= first_ok & second_ok
    return np.where(fits, first, ABSENT), np.where(fits, second, ABSENT)


def _decimals(words: _Words, end: Offsets, digits: Offsets) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Return the numbers of `digits` (1 to 16) characters before `end`, and which of them are numbers."""
    value, ok = _eight(words[end - _WORD], np.minimum(digits, _WORD))
    long = np.flatnonzero(digits > _WORD)
    if len(long):
        high, high_ok = _eight(words[end[long] - 2 * _WORD], digits[long] - _WORD)
        value[long] += high * 100_000_000
        ok[long] &= high_ok
    return value, ok


def _eight(word: _Words, digits: Offsets) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Read the last `digits` (0 to 8) of eight characters: pairs, then fours, then all eight are joined."""
    unwanted = ((_WORD - digits) * 8).astype(np.uint64)
    # A shift by all 64 bits is no shift at all on some processors, so it goes in two halves.
    half = unwanted >> np.uint64(1)
    word = (word ^ np.uint64(0x3030303030303030)) >> half >> (unwanted - half) << half << (unwanted - half)
    ok = ((word | (word + np.uint64(0x0606060606060606))) & np.uint64(0xF0F0F0F0F0F0F0F0)) == 0
    word = (word * np.uint64(2561)) >> np.uint64(8) & np.uint64(0x00FF00FF00FF00FF)
    word = (word * np.uint64(6553601)) >> np.uint64(16) & np.uint64(0x0000FFFF0000FFFF)
    word = (word * np.uint64(42949672960001)) >> np.uint64(32)
    return word.astype(np.int64), ok
