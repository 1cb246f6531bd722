"""Bytes that the device sent and received, by what they were for: on a mobile network each of them is paid for.

Counted are bodies, and heads as they are written; what TLS and TCP add (some 10 %) is not.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Purpose(StrEnum):
    """What bytes are for."""

    CONTROL = "control"
    METRICS = "metrics"
    LOGS = "logs"


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
