"""Where a gap stands, and how ranges of sequence numbers are cut to a bounded size; pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple


class Stage(StrEnum):
    """Where missing messages stand, as far as it can be known."""

    ON_THE_WAY = "on_the_way"
    """Younger than the watermark: a broker, a worker or another connection may still hold them."""
    UNANSWERED = "unanswered"
    """Older; the sender has not said yet whether it has them: lost between it and us, or not sent yet."""
    PIPELINE = "pipeline"
    """The sender says that it sent them again: they are at the broker, or between it and the database."""
    DEVICE = "device"
    """The sender says that it does not have them any more. They will not come."""
    NOT_KEPT = "not_kept"
    """Below the floor of an epoch with too many gaps; which ones is not known any more."""


class Span(NamedTuple):
    """A range of sequence numbers, both ends included."""

    first: int
    last: int

    @property
    def messages(self) -> int:
        """Messages in it."""
        return self.last - self.first + 1


class Gap(NamedTuple):
    """Consecutive missing messages that stand at one stage."""

    first: int
    last: int
    stage: Stage


def bounded(spans: Iterable[Span], *, most_spans: int, most_messages: int) -> list[Span]:
    """Return the first spans, cut off after so many spans or messages."""
    kept: list[Span] = []
    left = most_messages
    for span in islice(spans, most_spans):
        kept.append(Span(span.first, min(span.last, span.first + left - 1)))
        left -= kept[-1].messages
        if left <= 0:
            break
    return kept


def pairs(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Return spans as messages hold them."""
    return [(span.first, span.last) for span in spans]


def sender_keys(sources: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys of senders by kind: mac, uuid and key."""
    keys: dict[str, list[str]] = {"mac": [], "uuid": [], "key": []}
    for source in sources:
        kind, _, key = source.partition(":")
        keys.setdefault(kind, []).append(key)
    return keys
