"""What a bulk subscriber hands out, and what it wants back."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from iotistic.kernel.mqtt.cutting import RawMessages

_PUBACK, _PUBACK_LENGTH = 0x40, 2


class Receipt(NamedTuple):
    """What acknowledges a delivery; far smaller than the delivery, which may go before it is stored."""

    packet_ids: npt.NDArray[np.uint16]
    connection: int
    messages: int

    def pubacks(self) -> bytes:
        """Return one PUBACK for each message."""
        acks = np.empty((len(self.packet_ids), 4), np.uint8)
        acks[:, 0], acks[:, 1] = _PUBACK, _PUBACK_LENGTH
        acks[:, 2:] = self.packet_ids.astype(">u2").view(np.uint8).reshape(-1, 2)
        return acks.tobytes()


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages of one read, to be acknowledged together."""

    parts: tuple[RawMessages, ...]
    connection: int

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def octets(self) -> int:
        """Bytes held, headers included."""
        return sum(len(part.data) for part in self.parts)

    @property
    def receipt(self) -> Receipt:
        """What acknowledges this delivery; messages of QoS 0 need nothing."""
        ids = np.concatenate([part.packet_id for part in self.parts])
        return Receipt(ids[ids != 0], self.connection, len(ids))
