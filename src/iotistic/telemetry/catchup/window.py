"""How many messages may be under way, found out as TCP does: more while it goes well, half when it does not.

It begins with the least and doubles until live readings get slow for the first time. From then on it grows by
an eighth for each window that was stored, and only while all of it is used.
"""

_HELD_S = 1.5
"""Seconds in which it is halved once: as long as it takes until reports show what halving did."""
_STEPS = 8


class Window:
    """Between `least` and `most` messages."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, max(least, most)
        self._size = float(least)
        self._steep_until = float(self._most)
        self._held_until = float("-inf")

    @property
    def size(self) -> int:
        """Messages that may be under way."""
        return int(self._size)

    def grow(self, stored: int) -> None:
        """Take note that all of it was used, that so many messages were stored, and that nobody was harmed."""
        if self._size < self._steep_until:
            self._size += stored
        else:
            self._size += stored * max(self._least / self._size, 1 / _STEPS)
        self._size = min(self._size, self._most)

    def halve(self, now: float) -> bool:
        """Halve it, unless that was done a moment ago; tell whether it was."""
        if now < self._held_until:
            return False
        self._held_until = now + _HELD_S
        self._size = self._steep_until = max(self._least, self._size / 2)
        return True

    def collapse(self) -> None:
        """Begin again with the least: what entered does not come out."""
        self._steep_until = max(self._least, self._size / 2)
        self._size = float(self._least)
