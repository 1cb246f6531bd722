"""Bytes that the device sent and received, by what they were for: on a mobile network each of them is paid for.

Of HTTP are counted bodies, and heads as they are written, without what TLS adds. Of MQTT everything is that the
connection wrote and read, TLS included: messages by what they are for, the rest as control. What TCP and IP add
is in neither.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Purpose(StrEnum):
    """What bytes are for."""

    CONTROL = "control"
    METRICS = "metrics"
    LOGS = "logs"
    TELEMETRY = "telemetry"


@dataclass
class Budget:
    """Running totals since they were last taken."""

    sent: dict[Purpose, int] = field(default_factory=lambda: dict.fromkeys(Purpose, 0))
    received: dict[Purpose, int] = field(default_factory=lambda: dict.fromkeys(Purpose, 0))

    def count(self, purpose: Purpose, *, sent: int = 0, received: int = 0) -> None:
        """Add to the totals."""
        self.sent[purpose] += sent
        self.received[purpose] += received

    @property
    def total(self) -> int:
        """Return all bytes in both directions."""
        return sum(self.sent.values()) + sum(self.received.values())
