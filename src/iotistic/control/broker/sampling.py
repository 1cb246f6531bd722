"""What one sample of the broker's traffic saw: counts per topic, newest payloads' schemas, $SYS; bounded.

A sample is a second or so of every half minute, so figures are estimates: what was seen, times how much longer the
pause is than the sample. Retained messages come with the subscription and are no traffic; $SYS comes so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from iotistic.control.broker.shape import Schema, merged, schema_of

_SYS = "$SYS/broker/"
_LOG = "$SYS/broker/log/"
_MOST_TOPICS = 2_000
_MOST_TOPIC = 1_024
_MOST_FIGURES = 200
_SCHEMAS_PER_TOPIC = 5


@dataclass(slots=True)
class SeenTopic:
    """One topic within one sample."""

    messages: int = 0
    size: int = 0
    last_payload_bytes: int = 0
    schema: Schema | None = None

    def add(self, payload: bytes) -> None:
        """Count a message; the first few are looked into."""
        self.messages += 1
        self.size += len(payload)
        self.last_payload_bytes = len(payload)
        if self.messages <= _SCHEMAS_PER_TOPIC and (found := schema_of(payload)) is not None:
            self.schema = found if self.schema is None else merged(self.schema, found)


@dataclass(slots=True)
class Sample:
    """One look at the traffic."""

    topics: dict[str, SeenTopic] = field(default_factory=dict[str, SeenTopic])
    figures: dict[str, float | str] = field(default_factory=dict[str, "float | str"])
    messages: int = 0

    def add(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message."""
        if topic.startswith("$"):
            self._add_figure(topic, payload)
            return
        if retained or len(topic) > _MOST_TOPIC or not topic.isprintable():
            return
        self.messages += 1
        seen = self.topics.get(topic)
        if seen is None and len(self.topics) < _MOST_TOPICS:
            seen = self.topics[topic] = SeenTopic()
        if seen is not None:
            seen.add(payload)

    def _add_figure(self, topic: str, payload: bytes) -> None:
        # The log names clients and their addresses; it is no figure.
        if topic.startswith(_SYS) and not topic.startswith(_LOG) and len(self.figures) < _MOST_FIGURES:
            self.figures[topic.removeprefix(_SYS)] = _figure(payload)


def _figure(payload: bytes) -> float | str:
    text = payload.decode("utf-8", "replace").replace("\0", "")[:200]
    try:
        number = float(text.removesuffix(" seconds"))
    except ValueError:
        return text
    return number if math.isfinite(number) else text


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """What the broker's own figures say, in the words that dashboards know."""

    connected_clients: float | None
    subscriptions: float | None
    retained_messages: float | None
    messages_received: float | None
    messages_sent: float | None
    bytes_received: float | None
    bytes_sent: float | None
    messages_dropped: float | None
    uptime_s: float | None
    version: str

    @classmethod
    def of(cls, figures: Mapping[str, float | str]) -> "BrokerHealth":
        """Read them; what the broker does not say is None."""

        def number(name: str) -> float | None:
            value = figures.get(name)
            return value if isinstance(value, float | int) else None

        return cls(
            connected_clients=number("clients/connected"),
            subscriptions=number("subscriptions/count"),
            retained_messages=number("retained messages/count"),
            messages_received=number("messages/received"),
            messages_sent=number("messages/sent"),
            bytes_received=number("bytes/received"),
            bytes_sent=number("bytes/sent"),
            messages_dropped=number("publish/messages/dropped"),
            uptime_s=number("uptime"),
            version=str(figures.get("version", "")),
        )
