"""Counts what a connection costs: messages by what they are for, and everything else as control.

Everything else is what the connection wrote and read beyond the messages: TLS, CONNECT, pings, what came in.
"""

from iotistic.agent.link.budget import Budget, Purpose
from iotistic.kernel.mqtt.lean_model import Traffic

_PUBACK_BYTES = 4


class Tolls:
    """Of one link; each client begins anew."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._traffic = Traffic()
        self._known = Traffic()

    def begin(self, traffic: Traffic) -> None:
        """Count for another client."""
        self.settle()
        self._traffic, self._known = traffic, Traffic()

    def sent(self, purpose: Purpose, size: int) -> None:
        """A message is on its way."""
        self._known.sent += size
        self._budget.count(purpose, sent=size)

    def answered(self, purpose: Purpose) -> None:
        """An acknowledgement came."""
        self._known.received += _PUBACK_BYTES
        self._budget.count(purpose, received=_PUBACK_BYTES)
        self.settle()

    def settle(self) -> None:
        """Count the rest up to now. What is known and not written yet counts as written."""
        sent = max(0, self._traffic.sent - self._known.sent)
        received = max(0, self._traffic.received - self._known.received)
        self._known.sent += sent
        self._known.received += received
        self._budget.count(Purpose.CONTROL, sent=sent, received=received)
