"""What a controller numbered and keeps until the ledger says that it is stored.

What the broker has not acknowledged is never dropped here (whoever adds to it bounds it); of what it has,
the oldest goes first when there is too much.
"""

from collections.abc import Callable, Container, Iterable
from itertools import chain, pairwise
from typing import NamedTuple

from iotistic.contracts.delivery import Confirmation, ResendAnswer, ResendRequest, stamp_data


class KeptMessage(NamedTuple):
    """A message under its ordinary topic."""

    topic: bytes
    payload: bytes


class Kept:
    """The numbered messages of one controller in one epoch.

    `limit` bounds those that the broker took. Unless they are `stamped`, nobody will ask for these, and
    they are forgotten at once.
    """

    __slots__ = ("_last", "_limit", "_settled", "_stamped", "_topics", "_waiting", "epoch")

    def __init__(self, epoch: int, *, limit: int, stamped: bool = True) -> None:
        self.epoch = epoch
        self._limit = limit if stamped else 0
        self._stamped = stamped
        self._last = 0
        self._waiting: dict[int, KeptMessage] = {}
        self._settled: dict[int, KeptMessage] = {}
        self._topics: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._settled)

    @property
    def next_number(self) -> int:
        """The number that `add` will give."""
        return self._last + 1

    def stamp(self, number: int) -> bytes:
        """Return what a message bears as its stamp whenever it is sent."""
        return stamp_data(self.epoch, number) if self._stamped else b""

    def add(self, topic: bytes, payload: bytes) -> int:
        """Keep a new message, which waits for the broker's answer from here on; return its number."""
        self._last += 1
        # Equal topics share their bytes: an hour of messages has a few dozen of them.
        self._waiting[self._last] = KeptMessage(self._topics.setdefault(topic, topic), payload)
        return self._last

    def message(self, number: int) -> KeptMessage:
        """Return a message that is kept. Raises KeyError."""
        return self._waiting.get(number) or self._settled[number]

    def settled(self, number: int) -> None:
        """Note that the broker answered for a message."""
        message = self._waiting.pop(number, None)
        if message is not None:
            self._settled[number] = message
            if len(self._settled) > self._limit:
                del self._settled[next(iter(self._settled))]

    def confirmed(self, told: Confirmation) -> int:
        """Forget what is stored; return how many messages that were."""
        if told.epoch != self.epoch:
            return 0
        missing = _numbers(told.missing, self._settled)
        stored = [number for number in self._settled if number <= told.sent and number not in missing]
        for number in stored:
            del self._settled[number]
        return len(stored)

    def answer(
        self, asked: ResendRequest, send: Callable[[int], bool], kept_back: Container[int] = ()
    ) -> tuple[ResendAnswer, int]:
        """Send what is asked for and still kept; return the answer, and how many messages were sent again.

        What waits for the broker is on its way, and what is `kept_back` after an outage will be: neither is
        sent twice. What `send` does not take now is left out of the answer, and will be asked for once more.
        """
        if asked.epoch != self.epoch:
            return ResendAnswer(asked.epoch, gone=asked.ranges), 0
        again: list[int] = []
        waiting: list[int] = []
        count = 0
        for number in sorted(_numbers(asked.ranges, self._held())):
            if number in kept_back:
                waiting.append(number)
                continue
            if number in self._settled:
                if not send(number):
                    break
                self._waiting[number] = self._settled.pop(number)
                count += 1
            again.append(number)
        gone = [span for first, last in asked.ranges for span in self._gone(first, last)]
        return ResendAnswer(self.epoch, _ranges(again), gone, _ranges(waiting)), count

    def _held(self) -> Iterable[int]:
        return chain(self._waiting, self._settled)

    def _gone(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return what of a range was sent and is not kept; the range may be longer than anyone can count."""
        held = sorted(number for number in self._held() if first <= number <= last)
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
