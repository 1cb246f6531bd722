"""What a lean client says and asks for: its errors, its listener, its gate, its patience."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from iotistic.kernel.errors import Invalid, IotisticError, Unavailable
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish

if TYPE_CHECKING:
    from iotistic.kernel.mqtt.lean import LeanClient


class BrokerUnreachable(Unavailable):
    """The broker cannot be reached, or ended the connection."""

    code = "mqtt.unreachable"


class IdentityInvalid(Invalid):
    """The certificate or its key cannot be used."""

    code = "mqtt.identity_invalid"


@dataclass(slots=True)
class Traffic:
    """Bytes that a client's connections wrote and read, TLS included."""

    sent: int = 0
    received: int = 0


class Gate(Protocol):
    """Decides when a client may begin to connect, so that thousands do not begin at once."""

    async def enter(self) -> None:
        """Return when it is this client's turn."""
        ...

    def leave(self) -> None:
        """The attempt that entered has ended, one way or the other."""
        ...


class Listener(Protocol):
    """Hears what happens to clients."""

    def online(self, client: "LeanClient") -> None:
        """The client is connected and subscribed."""
        ...

    def offline(self, client: "LeanClient", cause: IotisticError, *, lost: bool) -> None:
        """The connection is `lost`, or an attempt to connect failed."""
        ...

    def message(self, client: "LeanClient", message: Publish) -> None:
        """A message came; at QoS 1 it is acknowledged when this returns."""
        ...

    def settled(self, client: "LeanClient", message: Outgoing, reason: int) -> None:
        """The broker answered for a message: took it, or refused it (`is_failure(reason)`)."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait before the nth new attempt: random between 0 and base x 2^n, at most `longest_s`."""

    base_s: float = 1.0
    longest_s: float = 30.0

    def wait_s(self, attempt: int, chance: random.Random) -> float:
        """Return the seconds to wait before attempt number `attempt` (0 is the first)."""
        return chance.uniform(0, min(self.longest_s, self.base_s * 2 ** min(attempt, 20)))
