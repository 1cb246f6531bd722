"""What waits for the broker's answer, in the order in which it was handed in.

A parcel is here until the broker answered for it, its sender gave it up, or it was found that it cannot be
sent. A connection that is lost changes nothing: whatever is here goes out again on the next.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import MqttUnsendable
from iotistic.kernel.mqtt.outbox import Outgoing

_MOST_TOPIC_BYTES = 65_535
_FORBIDDEN = (b"+", b"#", b"\0")
_HEAD_BYTES = 16
"""As much as stands around topic, correlation data and payload at most: type, lengths, packet identifier."""


@dataclass(frozen=True, slots=True, eq=False)
class Parcel(Outgoing):
    """A message with whoever waits for its answer."""

    answer: asyncio.Future[None] = None  # pyright: ignore[reportAssignmentType]  always given
    purpose: Purpose = Purpose.CONTROL

    @property
    def bytes(self) -> int:
        """Bytes of its packet."""
        return len(self.encode(1 if self.qos else None))


class Parcels:
    """Those of one link."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[int, Parcel] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Parcel]:
        return iter(list(self._held.values()))

    @property
    def is_full(self) -> bool:
        """Whether no more are taken."""
        return len(self._held) >= self._limit

    def keep(self, parcel: Parcel) -> None:
        """Take a parcel; whoever cancels its answer gives it up."""
        self._held[id(parcel)] = parcel
        parcel.answer.add_done_callback(lambda _: self._held.pop(id(parcel), None))


def check(topic: str) -> bytes:
    """Return a topic as it is sent. Raises MqttUnsendable: one message that cannot be written ends no connection."""
    try:
        written = topic.encode()
    except UnicodeEncodeError as exc:
        raise MqttUnsendable(f"the topic is no text: {exc.reason}") from exc
    if not written or any(sign in written for sign in _FORBIDDEN):
        raise MqttUnsendable("a topic to publish on is not empty and has no wildcard")
    if len(written) > _MOST_TOPIC_BYTES:
        raise MqttUnsendable(f"a topic has at most {_MOST_TOPIC_BYTES} bytes")
    return written


def fits(parcel: Parcel, most_packet_bytes: int | None) -> bool:
    """Say whether a broker takes a packet so large; it would end the connection otherwise."""
    if most_packet_bytes is None or _bound(parcel) <= most_packet_bytes:
        return True
    return parcel.bytes <= most_packet_bytes


def _bound(parcel: Parcel) -> int:
    return _HEAD_BYTES + len(parcel.topic) + len(parcel.correlation) + len(parcel.payload)
