"""Typed JSON decoding of many payloads in one pass, without letting one payload reach into another.

Joining payloads with commas and decoding them as one array is several times cheaper than decoding each,
but a hostile payload could open a string or an array that swallows its neighbours: `{"a":1},{"b":[1`
before and `2]}` after another device's message. The join is therefore used only when every payload
starts with `{`, ends with `}`, the whole holds exactly one of each per payload, and it decodes to as
many objects as there are payloads. Each object needs a brace of its own outside of any text, so all
braces are used up: every object starts at a payload's first byte and ends at its last, and nothing but
our comma stands between them.

When the joined pass fails, the batch is halved until the bad payloads stand alone, so one bad message
costs a few extra passes and not the batch.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
import numpy as np

T = TypeVar("T")

_OPEN, _CLOSE = ord("{"), ord("}")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class PayloadDecoder(Generic[T]):
    """Decodes flat JSON objects of one type `T` (a msgspec Struct)."""

    def __init__(self, shape: type[T]) -> None:
        self._many = msgspec.json.Decoder(list[shape])  # type: ignore[valid-type]  # a runtime type
        self._one = msgspec.json.Decoder(shape)

    def decode(self, payloads: Sequence[bytes]) -> tuple[list[T], list[int], list[tuple[int, str]]]:
        """Return (objects, their indices in `payloads`, [(index, what is wrong), ...])."""
        joined = self._decode_joined(payloads)
        if joined is not None:
            return joined, list(range(len(payloads))), []
        flat = [i for i, payload in enumerate(payloads) if _is_flat(payload)]
        bad: list[tuple[int, str]] = []
        good: list[tuple[int, T]] = []
        self._bisect(payloads, flat, good, bad)
        flat_set = set(flat)
        for i, payload in enumerate(payloads):
            if i not in flat_set:
                self._alone(i, payload, good, bad)
        good.sort(key=lambda pair: pair[0])
        bad.sort()
        return [value for _, value in good], [i for i, _ in good], bad

    def _decode_joined(self, payloads: Sequence[bytes]) -> list[T] | None:
        blob = b",".join(payloads)
        if not _is_one_object_each(blob, payloads):
            return None
        try:
            values = self._many.decode(b"[%b]" % blob)
        except _UNREADABLE:
            return None
        return values if len(values) == len(payloads) else None

    def _bisect(
        self,
        payloads: Sequence[bytes],
        indices: list[int],
        good: list[tuple[int, T]],
        bad: list[tuple[int, str]],
    ) -> None:
        pending = [indices]
        while pending:
            part = pending.pop()
            if len(part) <= 1:
                for i in part:
                    self._alone(i, payloads[i], good, bad)
                continue
            values = self._decode_joined([payloads[i] for i in part])
            if values is not None:
                good.extend(zip(part, values, strict=True))
            else:
                pending += [part[: len(part) // 2], part[len(part) // 2 :]]

    def _alone(
        self, index: int, payload: bytes, good: list[tuple[int, T]], bad: list[tuple[int, str]]
    ) -> None:
        try:
            good.append((index, self._one.decode(payload)))
        except _UNREADABLE as exc:
            bad.append((index, str(exc)))


def _is_one_object_each(blob: bytes, payloads: Sequence[bytes]) -> bool:
    n = len(payloads)
    if n == 0 or blob.count(b"{") != n or blob.count(b"}") != n:
        return False
    lengths = np.fromiter(map(len, payloads), np.int64, n)
    if not lengths.all():  # an empty payload has no first character; one at the end lies behind the blob
        return False
    after = np.cumsum(lengths + 1)  # index behind the comma that follows each payload
    chars = np.frombuffer(blob, np.uint8)
    return bool((chars[after - lengths - 1] == _OPEN).all() and (chars[after - 2] == _CLOSE).all())


def _is_flat(payload: bytes) -> bool:
    return (
        payload[:1] == b"{" and payload[-1:] == b"}" and payload.count(b"{") == 1 and payload.count(b"}") == 1
    )
