"""How far a container's log was read, so that reading goes on without a line lost or told twice. No I/O.

Lines of stdout and stderr get their times before they are written down, so that one may come after another
that is younger by a little. Reading therefore begins a little before the last line, and what was read of that
while is known again. When a while has too many lines to know them all, it begins after those.
"""

import math
import zlib
from collections import Counter, deque
from typing import Any, NamedTuple, Self, cast

from iotistic.agent.engines.port import LogLine

_WHILE_S = 0.05
_MOST_KNOWN = 64
_SKEW_S = 5.0


class _Read(NamedTuple):
    at: float
    mark: int


class Position:
    """Of one container. Times in seconds since 1970."""

    def __init__(self) -> None:
        self.at = 0.0
        """The time of the youngest line that was read."""
        self._known: deque[_Read] = deque()
        self._after = 0.0
        self._again: Counter[_Read] = Counter()
        self._again_until = 0.0

    def resume(self, now: float, oldest: float) -> float:
        """Return when to read from: nothing before `oldest` is wanted."""
        if self.at > now + _SKEW_S:  # the device's clock was ahead: what comes now is younger all the same
            self._forget(0.0)
        self._again, self._again_until = Counter(self._known), self.at + _WHILE_S
        begin = max(self.at - _WHILE_S, 0.0)
        if self._after >= begin > 0:
            begin = math.nextafter(self._after, math.inf)
        return max(begin, oldest)

    def read(self, line: LogLine) -> bool:
        """Note a line; say whether it is a new one."""
        found = _Read(line.at, zlib.crc32(line.text.encode(errors="replace"), line.is_stderr))
        if self._again:
            if self._again[found] > 0:
                self._again[found] -= 1
                return False
            if line.at > self._again_until:
                self._again.clear()
        if line.at < self.at - _SKEW_S:  # the clock was put back while it was read
            self._forget(line.at)
        self.at = max(self.at, line.at)
        self._known.append(found)
        while self._known[0].at < self.at - _WHILE_S:
            self._known.popleft()
        if len(self._known) > _MOST_KNOWN:
            self._after = max(self._after, self._known.popleft().at)
        return True

    def written(self) -> list[Any]:
        """Return it as JSON keeps it."""
        return [self.at, self._after, [list(one) for one in self._known]]

    @classmethod
    def from_written(cls, kept: object) -> Self:
        """Return what was kept; a fresh one of what is not understood."""
        position = cls()
        try:
            at, after, known = cast("tuple[float, float, list[tuple[float, int]]]", kept)
            marks = deque(_Read(float(one_at), int(mark)) for one_at, mark in known)
            position.at, position._after, position._known = float(at), float(after), marks
        except (TypeError, ValueError):
            return cls()
        return position

    def _forget(self, at: float) -> None:
        self.at, self._after = at, 0.0
        self._known.clear()
        self._again.clear()
