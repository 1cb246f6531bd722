"""The table of series that a decoder has met: each gets a small integer that later stages index by.

Tables are bounded, since topics come from outside: past the bound the decoder starts a new table, and
whatever was cached by index goes with the old one.
"""

from iotistic.telemetry.model import SeriesRef


class SeriesTable:
    """Interns SeriesRefs as 0, 1, 2, ..."""

    def __init__(self) -> None:
        self._index: dict[SeriesRef, int] = {}
        self.refs: list[SeriesRef] = []

    def __len__(self) -> int:
        return len(self.refs)

    def intern(self, ref: SeriesRef) -> int:
        """Return the index of `ref`, giving it the next one the first time."""
        index = self._index.setdefault(ref, len(self.refs))
        if index == len(self.refs):
            self.refs.append(ref)
        return index
