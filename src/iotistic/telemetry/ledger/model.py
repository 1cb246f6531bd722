"""Where a gap stands, and how ranges of sequence numbers are cut to a bounded size; pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple


class Stage(StrEnum):
    """Where missing messages stand, as far as it can be known."""

    ON_THE_WAY = "on_the_way"
    """Younger than the watermark: a broker, a worker or another connection may still hold them."""
    DEVICE_WAITING = "device_waiting"
    """The sender says that it keeps them, or others, back until its turn in the catch-up lane comes."""
    DEVICE_OFFLINE = "device_offline"
    """Nothing comes from the sender any more; it has not been able to answer."""
    BROKER = "broker"
    """They may wait in the broker, or in a worker that has not acknowledged them; or were lost before it."""
    RAW_TOPIC = "raw_topic"
    """They may wait in Kafka for a processor, or before; or were lost before the broker."""
    PROCESSED_TOPIC = "processed_topic"
    """They may wait in Kafka for a sink, or before; or were lost before the broker."""
    PIPELINE = "pipeline"
    """The sender says that it sent them again, and no stage tells how far it is."""
    BEFORE_BROKER = "before_broker"
    """The sender says that it sent them again, and no stage holds anything that old: lost at the broker or before."""
    UNANSWERED = "unanswered"
    """The sender has not said whether it has them, and no stage is known to hold anything that old."""
    DEVICE = "device"
    """The sender says that it does not have them any more. They will not come."""
    NOT_KEPT = "not_kept"
    """Below the floor of an epoch with too many gaps; which ones is not known any more."""


PATH = (Stage.BROKER, Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC)
"""The stages that messages pass on their way to the database, where there are any."""


class Span(NamedTuple):
    """A range of sequence numbers, both ends included."""

    first: int
    last: int

    @property
    def messages(self) -> int:
        """Messages in it."""
        return self.last - self.first + 1


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
