"""Messages a client has promised to deliver: waiting ones, and those sent but not acknowledged yet.

Invariants:
- A message of QoS 1 leaves only through `settle` or `clear`; a lost connection changes nothing here.
- Messages are sent, and sent again, in the order in which they were offered.
- No more than `window` are unacknowledged at once, no more than `limit` are held in all.
"""

from collections import deque
from dataclasses import dataclass

from iotistic.kernel.mqtt.packets import encode_publish

_LAST_PACKET_ID = 0xFFFE  # 0xFFFF is left to subscriptions


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way out."""

    topic: bytes
    payload: bytes
    qos: int = 1
    retain: bool = False
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes = b""

    def encode(self, packet_id: int | None, *, dup: bool = False) -> bytes:
        """Return PUBLISH."""
        return encode_publish(
            self.topic,
            self.payload,
            packet_id=packet_id,
            qos=self.qos,
            retain=self.retain,
            dup=dup,
            user_properties=self.user_properties,
            correlation=self.correlation,
        )


class Outbox:
    """The window of one client."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def offer(self, message: Outgoing) -> bool:
        """Take a message; False when the box is full and the message was not taken."""
        if len(self) >= self._limit:
            return False
        self._waiting.append(message)
        return True

    def take(self, window: int) -> bytes:
        """Return, in one piece, the packets that may be sent now; they are in flight from here on."""
        packets: list[bytes] = []
        while self._waiting and (len(self._in_flight) < window or not self._waiting[0].qos):
            message = self._waiting.popleft()
            packet_id = self.free_packet_id() if message.qos else None
            if packet_id is not None:
                self._in_flight[packet_id] = message
            packets.append(message.encode(packet_id))
        return b"".join(packets)

    def repeat(self, *, dup: bool) -> bytes:
        """Return, in one piece, what is in flight. `dup` when the broker knows our session still."""
        return b"".join(message.encode(packet_id, dup=dup) for packet_id, message in self._in_flight.items())

    def clear(self) -> list[Outgoing]:
        """Give up every message and return them in the order in which they were offered."""
        given_up = [*self._in_flight.values(), *self._waiting]
        self._in_flight.clear()
        self._waiting.clear()
        return given_up

    def settle(self, packet_id: int) -> Outgoing | None:
        """Forget an acknowledged message and return it; None when there is no such message in flight."""
        return self._in_flight.pop(packet_id, None)

    def free_packet_id(self) -> int:
        """Return an identifier that no message in flight uses."""
        while True:
            self._last_id = self._last_id % _LAST_PACKET_ID + 1
            if self._last_id not in self._in_flight:
                return self._last_id
