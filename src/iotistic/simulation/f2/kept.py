"""What a controller numbered and keeps until the ledger says that it is stored: bounded, oldest first out."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

from iotistic.contracts.delivery import Confirmation, ResendAnswer, ResendRequest, stamp_properties

Stamp = tuple[tuple[str, str], ...]


class KeptMessage(NamedTuple):
    """A message as it was sent."""

    topic: bytes
    payload: bytes


class Kept:
    """The numbered messages of one controller in one epoch.

    `waiting` are those that the broker has not acknowledged: they are sent again without being asked for.
    """

    __slots__ = ("_last", "_limit", "_messages", "epoch", "waiting")

    def __init__(self, epoch: int, *, limit: int) -> None:
        self.epoch = epoch
        self.waiting: set[int] = set()
        self._limit = limit
        self._last = 0
        self._messages: dict[int, KeptMessage] = {}

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def next_stamp(self) -> Stamp:
        """The stamp of the next message; `sent` uses it up."""
        return stamp_properties(self.epoch, self._last + 1)

    def sent(self, topic: bytes, payload: bytes) -> None:
        """Keep a message that goes out with `next_stamp`; the oldest goes when there are too many."""
        self._last += 1
        self._messages[self._last] = KeptMessage(topic, payload)
        self.waiting.add(self._last)
        if len(self._messages) > self._limit:
            del self._messages[next(iter(self._messages))]

    def settled(self, stamp: Stamp) -> None:
        """Note that the broker answered for a message."""
        if stamp:
            self.waiting.discard(int(stamp[1][1]))

    def confirmed(self, told: Confirmation) -> int:
        """Forget what is stored; return how many messages that were."""
        if told.epoch != self.epoch:
            return 0
        missing = _numbers(told.missing, self._messages)
        stored = [number for number in self._messages if number <= told.sent and number not in missing]
        for number in stored:
            del self._messages[number]
        return len(stored)

    def answer(
        self, asked: ResendRequest, send: Callable[[bytes, bytes, Stamp], bool]
    ) -> tuple[ResendAnswer, int]:
        """Send what is asked for and still kept; return the answer, and how many messages were sent again.

        What `send` does not take now is neither in `again` nor in `gone`, and will be asked for once more.
        """
        if asked.epoch != self.epoch:
            return ResendAnswer(asked.epoch, gone=asked.ranges), 0
        again: list[int] = []
        count = 0
        for number in sorted(_numbers(asked.ranges, self._messages)):
            if number not in self.waiting:
                if not send(*self._messages[number], stamp_properties(self.epoch, number)):
                    break
                self.waiting.add(number)
                count += 1
            again.append(number)
        gone = [span for first, last in asked.ranges for span in self._gone(first, last)]
        return ResendAnswer(self.epoch, _ranges(again), gone), count

    def _gone(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return what of a range was sent and is not kept; the range may be longer than anyone can count."""
        held = [number for number in self._messages if first <= number <= last]
        edges = [first - 1, *held, min(last, self._last) + 1]
        return [(low + 1, high - 1) for low, high in pairwise(edges) if high - low > 1]


def _numbers(ranges: Iterable[tuple[int, int]], among: Iterable[int]) -> set[int]:
    spans = list(ranges)
    return {number for number in among if any(first <= number <= last for first, last in spans)}


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
