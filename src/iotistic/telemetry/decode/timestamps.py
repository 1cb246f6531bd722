"""Device times to microseconds since the epoch, a column at a time.

Accepted: ISO 8601 text with `T` or a space, any fraction, `Z`, an offset, or nothing (then it is UTC);
and numbers, read as seconds, milliseconds, microseconds or nanoseconds by their size. A column of texts
of one shape, which is what devices of one kind send, is parsed with array arithmetic; anything else
goes one by one.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from iotistic.telemetry.model import Int64s

Stamp = str | int | float | None
"""A timestamp as it stands in a payload."""

UNREADABLE = np.iinfo(np.int64).min
"""Stands in the result for a timestamp that cannot be read."""
MISSING = UNREADABLE + 1
"""Stands in the result for a timestamp that is not there."""

_DAY_US = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DATE_AND_CLOCK = 19  # YYYY-MM-DDTHH:MM:SS
_MAX_FRACTION = 9
_NINE = 9
_LAST = (23, 59, 59)
_BEYOND_INT64 = 9.2e18
# The smallest magnitude read as milliseconds, microseconds, nanoseconds: seconds reach it in the year 5138.
_UNIT_FLOORS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3))


def to_microseconds(stamps: Sequence[Stamp]) -> Int64s:
    """Return one int64 per stamp: microseconds, MISSING for None, UNREADABLE where it makes no sense."""
    chars = _uniform(stamps) if set(map(type, stamps)) == {str} else None
    parsed = None if chars is None else _parse_uniform(chars)
    return _one_by_one(stamps) if parsed is None else parsed


def _uniform(texts: Sequence[Any]) -> npt.NDArray[np.uint8] | None:
    """Return the characters of texts as a matrix; None unless all are ASCII and of one length."""
    try:
        joined = "".join(texts).encode("ascii")
    except UnicodeEncodeError:
        return None
    length = len(texts[0])
    if set(map(len, texts)) != {length}:
        return None
    return np.frombuffer(joined, np.uint8).reshape(len(texts), length)


def _parse_uniform(chars: npt.NDArray[np.uint8]) -> Int64s | None:
    """Parse rows of one shape; None when the shape is not the plain one or any row breaks it."""
    length = chars.shape[1]
    end = length - 1 if length and chars[0, -1] == ord("Z") else length
    fraction = end - _DATE_AND_CLOCK - 1
    if end != _DATE_AND_CLOCK and not 1 <= fraction <= _MAX_FRACTION:
        return None
    if not _has_separators(chars, end):
        return None
    digits = chars - np.uint8(48)  # other characters wrap to 10 and more
    clock = digits[:, [11, 12, 14, 15, 17, 18]].astype(np.int64)
    if clock.max(initial=0) > _NINE:
        return None
    hour, minute, second = (clock[:, i] * 10 + clock[:, i + 1] for i in (0, 2, 4))
    if any(part.max(initial=0) > most for part, most in zip((hour, minute, second), _LAST, strict=True)):
        return None
    micros = (hour * 3600 + minute * 60 + second) * 1_000_000
    if end > _DATE_AND_CLOCK:
        kept = min(fraction, 6)
        tail = digits[:, _DATE_AND_CLOCK + 1 : end]
        if tail.max(initial=0) > _NINE:
            return None
        weights = 10 ** np.arange(5, 5 - kept, -1, dtype=np.int64)
        micros += tail[:, :kept].astype(np.int64) @ weights
    days = _days(chars)
    return None if days is None else days * _DAY_US + micros


def _has_separators(chars: npt.NDArray[np.uint8], end: int) -> bool:
    expected = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")]
    if end > _DATE_AND_CLOCK:
        expected.append((_DATE_AND_CLOCK, b"."))
    if end < chars.shape[1]:
        expected.append((end, b"Z"))
    between = chars[:, 10]
    return all((chars[:, at] == mark[0]).all() for at, mark in expected) and bool(
        ((between == ord("T")) | (between == ord(" "))).all()
    )


def _days(chars: npt.NDArray[np.uint8]) -> Int64s | None:
    """Return days since the epoch from the first ten characters of each row; None if one is no date."""
    first = chars[0, :10].tobytes()
    if (chars[:, :10] == chars[0, :10]).all():  # nearly every batch lies within one day
        day = _day(first)
        return None if day is None else np.full(len(chars), day, np.int64)
    texts = np.ascontiguousarray(chars[:, :10]).view("S10").ravel()
    distinct, inverse = np.unique(texts, return_inverse=True)
    found = [_day(text) for text in distinct.tolist()]
    known = [day for day in found if day is not None]
    return np.array(known, np.int64)[inverse] if len(known) == len(found) else None


@lru_cache(maxsize=4096)
def _day(text: bytes) -> int | None:
    try:
        year, month, day = text.split(b"-")
        if not (len(year) == len("YYYY") and year.isdigit() and month.isdigit() and day.isdigit()):
            return None
        return date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None


def _one_by_one(stamps: Sequence[Stamp]) -> Int64s:
    return np.array([_single(stamp) for stamp in stamps], np.int64)


def _single(stamp: Stamp) -> int:
    if stamp is None:
        return MISSING
    if isinstance(stamp, str):
        return _from_text(stamp)
    return _from_number(stamp)


def _from_text(text: str) -> int:
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return _from_number(float(text))
        except ValueError:
            return UNREADABLE
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        return UNREADABLE
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _from_number(number: float) -> int:
    size = abs(number)
    if size != size or size >= _BEYOND_INT64:  # noqa: PLR0124  NaN differs from itself
        return UNREADABLE
    for floor, to_us in _UNIT_FLOORS:
        if size >= floor:
            return int(number * to_us)
    return round(number * 1e6)
