"""A body of any size as lines, with memory for one piece and one line.

What is packed is unpacked piece by piece, so that a small body that unpacks to a large one costs time, which
the allowance ends, and no memory. A line without end is skipped to its end, and counted.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator

from iotistic.control.devicelogs.line import MOST_LINE
from iotistic.control.devices.wire import BodyInvalid, BodyTooLarge

_PIECE = 256 * 1024
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_READ_WITHIN_S = 60.0
_MOST_WHOLE = 4 * 1024 * 1024


async def unpacked(
    body: AsyncIterator[bytes], encoding: str, spend: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """Yield a body's content in pieces of 256 KiB at most; `spend` is told of each, and may raise.

    Raises BodyInvalid for what is not packed as it says, ends too early, or comes too slowly.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", *_WINDOW):
        raise BodyInvalid(
            f"the body is packed in a way that is not known: {encoding[:40]!r}", hint="use gzip"
        )
    unpacking = _Unpacking(_WINDOW[encoding]) if encoding in _WINDOW else None
    async for part in _in_time(body):
        for piece in unpacking.unpack(part) if unpacking else _pieces(part):
            spend(len(piece))
            yield piece
            await asyncio.sleep(0)  # others come in between, however much there is
    if unpacking is not None and not unpacking.is_whole:
        raise BodyInvalid("the packed body ends too early", hint="send it again: no line is kept twice")


async def lines(pieces: AsyncIterator[bytes], skipped: Callable[[], None]) -> AsyncIterator[list[bytes]]:
    """Yield the lines that end in each piece; `skipped` is called for each that is too long."""
    begun, is_skipping = b"", False
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        if ended:
            first = [] if is_skipping else [begun + ended[0]]
            if first and len(first[0]) > MOST_LINE:
                skipped()
                first = []
            yield [line for line in (*first, *ended[1:]) if line and not line.isspace()]
            begun, is_skipping = b"", False
        if not is_skipping:
            begun += rest
            if len(begun) > MOST_LINE:
                skipped()
                begun, is_skipping = b"", True
    if begun and not begun.isspace():
        yield [begun]


async def whole(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield everything as one, for a document that is not cut into lines. Raises BodyTooLarge."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > _MOST_WHOLE:
            raise BodyTooLarge(
                f"a JSON array has at most {_MOST_WHOLE} bytes",
                hint="send one object a line, as application/x-ndjson: of those any number is taken",
                limit=_MOST_WHOLE,
            )
        parts.append(piece)
    yield [b"".join(parts)]


class _Unpacking:
    """Unpacks gzip, also of several members, or deflate."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)
        self._has_begun = False

    @property
    def is_whole(self) -> bool:
        """Whether all that came is complete; nothing at all is not."""
        return self._stream.eof

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Yield what becomes of a part. Raises BodyInvalid."""
        while packed:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window)
            try:
                piece = self._stream.decompress(packed, _PIECE)
            except zlib.error as exc:
                raise BodyInvalid("the body is not packed as it says") from exc
            packed = self._stream.unused_data or self._stream.unconsumed_tail
            if piece:
                yield piece


def _pieces(part: bytes) -> Iterator[bytes]:
    for start in range(0, len(part), _PIECE):
        yield part[start : start + _PIECE]


async def _in_time(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_READ_WITHIN_S):
                part = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            raise BodyInvalid(f"nothing came for {_READ_WITHIN_S:.0f} s", hint="send it again") from exc
        yield part
