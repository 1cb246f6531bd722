"""How many messages may be under way, found out as TCP does: more while it goes well, half when it does not.

It begins with the least and doubles until live readings are slow for the first time, which halves it. From then
on it grows by a thirty-second for each window that was stored, and only while all of it is used. Looks at how
slow they are come twice a second, and each is the worst of a second: a machine that stops for a moment, as
machines do, makes two of them slow without any catch-up. So it stays as it is while they are slow, or nearly,
and is halved when that persists.
"""

_HELD_S = 1.5
"""Seconds in which it is halved once: as long as it takes until reports show what halving did."""
_STEPS = 32
"""Windows that have to be stored for as much again."""
_NEARLY = 0.7
"""Times the limit from which on it does not grow."""
_PERSISTS = 3
"""Slow looks, less those that were not, after which it is halved."""
_PLAINLY = 4.0
"""Times the limit at which one look is enough."""


class Window:
    """Between `least` and `most` messages."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, max(least, most)
        self._size = float(least)
        self._steep_until = float(self._most)
        self._held_until = float("-inf")
        self._slow = 0

    @property
    def size(self) -> int:
        """Messages that may be under way."""
        return int(self._size)

    def grow(self, stored: int) -> None:
        """Take note that all of it was used, and that so many messages were stored."""
        if self._size < self._steep_until:
            self._size += stored
        else:
            self._size += stored * max(self._least / self._size, 1 / _STEPS)
        self._size = min(self._size, self._most)

    def look(self, times: float, now: float) -> bool:
        """Take note that live readings take so many times what they may take; return whether it may grow."""
        if times <= 1:
            self._slow = max(0, self._slow - 1)
            return times <= _NEARLY
        self._slow = min(self._slow + 1, _PERSISTS)
        if self._slow == _PERSISTS or times >= _PLAINLY or self._size < self._steep_until:
            self.halve(now)
        return False

    def halve(self, now: float) -> bool:
        """Halve it, unless that was done a moment ago; tell whether it was."""
        if now < self._held_until:
            return False
        self._held_until = now + _HELD_S
        # Of the least nobody gets slow: that has other reasons, and says nothing about how much is too much.
        if self._size > self._least:
            self._size = self._steep_until = max(self._least, self._size / 2)
        return True

    def collapse(self) -> None:
        """Begin again with the least: what entered does not come out."""
        self._steep_until = max(self._least, self._size / 2)
        self._size = float(self._least)
