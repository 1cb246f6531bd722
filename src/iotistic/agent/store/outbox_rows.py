"""How the outbox numbers its rows, and what a row holds.

Ids count on over epochs; within an epoch a sequence number is the id less what came before the epoch. The
next id follows from the largest in the table and the largest that was ever removed: an append writes no
counter.
"""

import bisect
import sqlite3
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

import structlog

from iotistic.agent.store.ranges import Range, within
from iotistic.kernel.files import write_atomic

log = structlog.get_logger()

_HEAD = struct.Struct(">dH")
LARGEST = 2**53 - 1
"""Largest number in a stamp: what every JSON reader can hold."""


class Stamp(NamedTuple):
    """What the delivery ledger knows a message by."""

    epoch: int
    sequence: int


class Letter(NamedTuple):
    """What is to be sent, and where to."""

    topic: str
    payload: bytes


class Message(NamedTuple):
    """A letter that is kept; `kept_at` in seconds since 1970."""

    stamp: Stamp
    topic: str
    payload: bytes
    kept_at: float


def pack(letter: Letter, kept_at: float) -> bytes:
    """Return the content of a row. Raises struct.error for a topic of more than 65,535 bytes."""
    topic = letter.topic.encode()
    return _HEAD.pack(kept_at, len(topic)) + topic + letter.payload


def unpack(content: bytes) -> tuple[Letter, float]:
    """Read the content of a row. Raises ValueError."""
    try:
        kept_at, length = _HEAD.unpack_from(content)
    except struct.error as exc:
        raise ValueError(str(exc)) from exc
    end = _HEAD.size + length
    return Letter(content[_HEAD.size : end].decode(), content[end:]), kept_at


class Numbering:
    """What is known of ids and epochs. `path` keeps the largest epoch past a broken database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._epochs: list[Stamp] = []
        self._is_open = False
        self._above = 0
        self.last = self.sent = self.dropped = 0

    @property
    def epoch(self) -> int:
        """The epoch of the last message, 0 before the first."""
        return self._epochs[-1].epoch if self._epochs else 0

    def read(self, connection: sqlite3.Connection) -> None:
        """Read everything from the tables."""
        rows = connection.execute("SELECT epoch, before FROM outbox_epochs ORDER BY before, epoch")
        self._epochs = [Stamp(*row) for row in rows]
        is_open, floor, self.sent, self.dropped = connection.execute(
            "SELECT is_open, floor, sent, dropped FROM outbox_state"
        ).fetchone()
        largest = connection.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0]
        self.last = max(floor, largest)
        self._is_open = bool(is_open) and bool(self._epochs)

    def remember(self) -> object:
        """Return what is known, for `recall`."""
        return list(self._epochs), self._is_open, self.last, self.sent, self.dropped

    def recall(self, memory: object) -> None:
        """Know again what was known: what came after was undone."""
        self._epochs, self._is_open, self.last, self.sent, self.dropped = cast(
            "tuple[list[Stamp], bool, int, int, int]", memory
        )

    def next(self, connection: sqlite3.Connection, now: float) -> tuple[int, Stamp]:
        """Return the next id and its stamp."""
        if not self._is_open:
            self._begin(connection, now)
        self.last += 1
        return self.last, self.stamp_of(self.last)

    def stamp_of(self, id_: int) -> Stamp:
        """Return the stamp of an id that is in the table."""
        place = bisect.bisect_left(self._epochs, id_, key=lambda one: one.sequence) - 1
        epoch, before = self._epochs[max(place, 0)]
        return Stamp(epoch, id_ - before)

    def id_of(self, stamp: Stamp) -> int | None:
        """Return the id of a stamp, None when there never was such a one."""
        found = self.ids_of(stamp.epoch, [(stamp.sequence, stamp.sequence)])
        return found[0][0] if found else None

    def last_of(self, epoch: int) -> int:
        """Return the largest sequence number of an epoch, 0 when nothing is known of it."""
        for place, one in enumerate(self._epochs):
            if one.epoch == epoch:
                end = self._epochs[place + 1].sequence if place + 1 < len(self._epochs) else self.last
                return end - one.sequence
        return 0

    def ids_of(self, epoch: int, ranges: Iterable[Range]) -> list[Range]:
        """Return what ranges of sequence numbers are as ranges of ids, without what never was."""
        for one in self._epochs:
            if one.epoch == epoch:
                moved = [(first + one.sequence, last + one.sequence) for first, last in ranges]
                return within(moved, (one.sequence + 1, one.sequence + self.last_of(epoch)))
        return []

    def close(self, connection: sqlite3.Connection, above: int) -> None:
        """Let the next message begin an epoch that is larger than `above`."""
        self._is_open, self._above = False, max(self._above, above)
        connection.execute("UPDATE outbox_state SET is_open = 0, floor = ?", (self.last,))

    def removed(self, connection: sqlite3.Connection, id_: int) -> None:
        """Note the largest id that was removed: it is not given again. Epochs without messages are forgotten."""
        connection.execute("UPDATE outbox_state SET floor = ? WHERE floor < ?", (min(id_, self.last),) * 2)
        while len(self._epochs) > 1:
            end = self._epochs[1].sequence
            if connection.execute("SELECT 1 FROM outbox WHERE id <= ? LIMIT 1", (end,)).fetchone():
                return
            connection.execute("DELETE FROM outbox_epochs WHERE epoch = ?", (self._epochs.pop(0).epoch,))

    def mark_sent(self, connection: sqlite3.Connection, sent: int) -> None:
        """Note that everything up to an id was sent."""
        if sent > self.sent:
            connection.execute("UPDATE outbox_state SET sent = ?", (sent,))
            self.sent = sent

    def drop(self, connection: sqlite3.Connection, count: int) -> None:
        """Count what was dropped."""
        connection.execute("UPDATE outbox_state SET dropped = dropped + ?", (count,))
        self.dropped += count

    def _begin(self, connection: sqlite3.Connection, now: float) -> None:
        """Begin an epoch: the time, unless the clock stands before one that was used."""
        epoch = min(max(int(now), self.epoch + 1, self._remembered() + 1, self._above + 1), LARGEST)
        self._remember(epoch)
        connection.execute("INSERT INTO outbox_epochs (epoch, before) VALUES (?, ?)", (epoch, self.last))
        connection.execute("UPDATE outbox_state SET is_open = 1")
        self._epochs.append(Stamp(epoch, self.last))
        self._is_open = True
        log.info("outbox.epoch_begun", epoch=epoch)

    def _remembered(self) -> int:
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _remember(self, epoch: int) -> None:
        try:
            write_atomic(self._path, f"{epoch}\n")
        except OSError as exc:
            log.warning("outbox.epoch_not_remembered", reason=str(exc))
