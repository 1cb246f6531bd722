"""Lines that wait for the cloud: bounded in bytes; the oldest make room, and are counted. No I/O."""

from collections import Counter, deque
from typing import NamedTuple

from iotistic.agent.logs.entry import Level, LogEntry
from iotistic.agent.logs.shipping import Loss, Losses, Reason, Shipping

_OF_A_LINE = 120
"""Bytes that a line takes in memory besides its own."""


class _Waiting(NamedTuple):
    line: bytes
    entry_of: Loss
    due: float


class Batch(NamedTuple):
    """Lines that are sent together, and whose they are."""

    lines: list[bytes]
    of: Counter[Loss]


class WaitingLines:
    """`Loss` names whose line it is, with the reason that it would be lost for."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._lines: deque[_Waiting] = deque()
        self._urgent_due = float("inf")
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, entry: LogEntry, shipping: Shipping, now: float) -> None:
        """Take a line; the oldest make room for it."""
        waiting = _Waiting(entry.written(), Loss.of(entry, Reason.FULL), now + shipping.flush_s)
        if entry.level.rank >= Level.WARN.rank:
            self._urgent_due = min(self._urgent_due, now + shipping.urgent_flush_s)
        self._lines.append(waiting)
        self.bytes += len(waiting.line) + _OF_A_LINE
        while self.bytes > shipping.buffer_bytes and len(self._lines) > 1:
            self._losses.add(self._drop().entry_of)

    def due(self, shipping: Shipping, sent_at: float = float("-inf")) -> float:
        """Return when lines are to be sent; infinity while there are none, and the past when they fill a batch.

        `sent_at` is when some were sent last.
        """
        if not self._lines:
            return float("inf")
        if len(self._lines) >= shipping.batch_lines or self.bytes >= shipping.buffer_bytes // 2:
            return float("-inf")
        return min(self._lines[0].due, max(self._urgent_due, sent_at + shipping.flush_s))

    def take(self, shipping: Shipping) -> Batch:
        """Take the oldest, as many as go together."""
        batch, size = Batch([], Counter()), 0
        while self._lines and len(batch.lines) < shipping.batch_lines and size < shipping.buffer_bytes // 2:
            taken = self._drop()
            batch.lines.append(taken.line)
            batch.of[taken.entry_of] += 1
            size += len(taken.line)
        if not self._lines:
            self._urgent_due = float("inf")
        return batch

    def clear(self) -> None:
        """Let go of all."""
        self._lines.clear()
        self._urgent_due, self.bytes = float("inf"), 0

    def _drop(self) -> _Waiting:
        oldest = self._lines.popleft()
        self.bytes -= len(oldest.line) + _OF_A_LINE
        return oldest
