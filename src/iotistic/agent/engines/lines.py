r"""Lines that containers printed, out of a stream of bytes that comes in whatever parts. No I/O.

PlainLines    `2026-01-01T00:00:00.000000000Z text\n`: Kubernetes, and Docker for a container with a terminal
FramedLines   messages with a head of eight bytes, stdout and stderr mixed: Docker for all others. A line of
              more than 16 KiB comes as several messages, of which only the last ends with `\n`

A line takes no more memory than it may be long, whatever comes. A line that is the same as one shortly before,
to the nanosecond, is left out: Docker 20.10 says the last few again when it begins a new file under a reader.
"""

import codecs
import struct
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from iotistic.agent.engines.port import LogLine

MOST_BYTES = 16 * 1024
CUT = " [cut: longer than 16 KiB]"
"""What stands in the place of the rest of a line."""
_MOST_STAMP = 40
_HEAD = struct.Struct(">BxxxL")
_STDERR, _OF_THE_ENGINE = 2, 3
_LAST_YEAR_OF_NONE = 1
_MOST_KNOWN = 1024
_decoder = codecs.getincrementaldecoder("utf-8")


class EngineSaid(Exception):  # noqa: N818  no fault of ours: what the engine puts between the lines
    """The engine speaks instead of the container: its logs cannot be read."""


class _Stamped(NamedTuple):
    at: float
    text: bytes
    has_stamp: bool = False


class _Held:
    """The beginning of a line, no longer than is needed to see that it is too long."""

    def __init__(self, most: int) -> None:
        self._most = most + 1
        self.content = bytearray()

    def add(self, part: bytes) -> None:
        room = self._most - len(self.content)
        if room > 0:
            self.content += part[:room]

    def take(self) -> bytes:
        content = bytes(self.content)
        self.content.clear()
        return content


class _Once:
    """Knows the messages of a while."""

    def __init__(self) -> None:
        self._marks: set[int] = set()
        self._order: deque[int] = deque()

    def is_new(self, message: bytes, source: int = 0) -> bool:
        mark = hash((source, message))
        if mark in self._marks:
            return False
        self._marks.add(mark)
        self._order.append(mark)
        if len(self._order) > _MOST_KNOWN:
            self._marks.discard(self._order.popleft())
        return True


class PlainLines:
    """Lines, each after its time."""

    def __init__(self) -> None:
        self._held = _Held(MOST_BYTES + _MOST_STAMP)
        self._once = _Once()
        self._at = 0.0

    def feed(self, part: bytes) -> Iterator[LogLine]:
        """Take bytes; yield the lines that are whole with them."""
        *ends, rest = part.split(b"\n")
        for end in ends:
            self._held.add(end)
            yield from self._line()
        self._held.add(rest)

    def end(self) -> Iterator[LogLine]:
        """Yield what has no end of line yet."""
        if self._held.content:
            yield from self._line()

    def _line(self) -> Iterator[LogLine]:
        line = self._held.take()
        stamped = _stamped(line, self._at)
        if stamped.has_stamp and not self._once.is_new(line):
            return
        self._at = stamped.at
        yield LogLine(stamped.at, _shown(stamped.text))


class FramedLines:
    """Docker's messages."""

    def __init__(self) -> None:
        self._head = b""
        self._source = self._left = 0
        self._message = _Held(MOST_BYTES + _MOST_STAMP)
        self._is_whole = False
        self._begun: dict[int, tuple[float, _Held]] = {}
        self._once = _Once()
        self._at = 0.0

    def feed(self, part: bytes) -> Iterator[LogLine]:
        """Take bytes; yield the lines that are whole with them. Raises EngineSaid."""
        at = 0
        while at < len(part):
            if not self._left:
                at = self._read_head(part, at)
                continue
            piece = part[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            self._message.add(piece)
            self._is_whole = piece.endswith(b"\n")
            if not self._left:
                yield from self._take()

    def end(self) -> Iterator[LogLine]:
        """Yield what has no end of line yet."""
        for source in sorted(self._begun):
            yield self._line(source)

    def _read_head(self, part: bytes, at: int) -> int:
        missing = _HEAD.size - len(self._head)
        self._head += part[at : at + missing]
        if len(self._head) == _HEAD.size:
            self._source, self._left = _HEAD.unpack(self._head)
            self._head = b""
        return at + missing

    def _take(self) -> Iterator[LogLine]:
        message = self._message.take()
        if self._source == _OF_THE_ENGINE:
            raise EngineSaid(message.decode(errors="replace").strip())
        stamped = _stamped(message, self._at)
        if stamped.has_stamp and self._is_whole and not self._once.is_new(message, self._source):
            return
        self._at = stamped.at
        _, held = self._begun.setdefault(self._source, (stamped.at, _Held(MOST_BYTES)))
        held.add(stamped.text.removesuffix(b"\n"))
        if self._is_whole:
            yield self._line(self._source)

    def _line(self, source: int) -> LogLine:
        at, held = self._begun.pop(source)
        return LogLine(at, _shown(held.take()), source == _STDERR)


def _stamped(line: bytes, before: float) -> _Stamped:
    """Return a line without its time; one that has none is of the time before."""
    stamp, space, text = line.partition(b" ")
    try:
        at = datetime.fromisoformat(stamp.decode("ascii")) if len(stamp) <= _MOST_STAMP else None
        if at is not None and at.tzinfo is not None and at.year > _LAST_YEAR_OF_NONE:
            return _Stamped(at.timestamp(), text if space else b"", has_stamp=True)
    except ValueError:
        pass
    return _Stamped(before, line)


def _shown(text: bytes) -> str:
    """Return a line as text: no part of a character at the cut, nor what Docker made of one there."""
    if len(text) <= MOST_BYTES:
        return text.removesuffix(b"\r").decode(errors="replace")
    return _decoder("replace").decode(text[:MOST_BYTES]).rstrip("\ufffd") + CUT
