"""Follows log files that children write, for the console of `up --plain`.

The children write to their files themselves: a pipe through `up` would lose the last lines of a crash,
and would break a child's orderly stop when `up` is killed.
"""

from pathlib import Path

_READ_BYTES = 256 * 1024


class Follower:
    """Gives the lines that were added to one file since the last call."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._at = 0 if from_start else self._size()

    def lines(self) -> list[str]:
        """Return whole new lines; a file that was cut (rotated) is read from its start."""
        size = self._size()
        if size < self._at:
            self._at = 0
        if size == self._at:
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            chunk = file.read(_READ_BYTES)
        # A line longer than a whole read is given in pieces rather than never.
        whole = chunk.rfind(b"\n") + 1 or (len(chunk) if len(chunk) == _READ_BYTES else 0)
        self._at += whole
        return chunk[:whole].decode(errors="replace").splitlines()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
