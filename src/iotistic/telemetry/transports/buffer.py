"""Deliveries between the broker and the decoder: bounded, and cut into batches."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iotistic.contracts.stamps import EPOCH_PROPERTY, SEQUENCE_PROPERTY, STAMP_MARK
from iotistic.kernel.mqtt.cutting import RawMessages
from iotistic.kernel.mqtt.deliveries import Delivery, Receipt
from iotistic.kernel.mqtt.numbers import NumberNames, read_numbers
from iotistic.telemetry.model import Messages, Stamps

_STAMP_NAMES = NumberNames(EPOCH_PROPERTY.encode(), SEQUENCE_PROPERTY.encode(), STAMP_MARK)


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much may wait, and how much of it is one batch; one delivery may exceed either."""

    waiting_bytes: int = 64 << 20
    batch_messages: int = 20_000
    batch_bytes: int = 8 << 20
    """Decoding a batch takes a few times its size."""


class Buffer:
    """A queue of deliveries. `has_room` says whether another one should be received."""

    def __init__(self, limits: BufferLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[Delivery, int]] = deque()
        self._arrived = asyncio.Event()
        self.waiting_bytes = 0
        self.waiting_messages = 0
        self.has_room = asyncio.Event()
        self.has_room.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """Add a delivery, received now."""
        self._waiting.append((delivery, time.time_ns() // 1000))
        self.waiting_bytes += delivery.octets
        self.waiting_messages += len(delivery)
        if self.waiting_bytes >= self._limits.waiting_bytes:
            self.has_room.clear()
        self._arrived.set()

    async def filled(self) -> None:
        """Return when there is something to take."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    def take(self) -> tuple[Messages, list[Receipt]]:
        """Take one batch; what its messages arrived in is let go."""
        received_us = self._waiting[0][1]
        deliveries = self._next_batch()
        if self.waiting_bytes < self._limits.waiting_bytes:
            self.has_room.set()
        parts = [part for delivery in deliveries for part in delivery.parts]
        topics = [topic for part in parts for topic in part.topics()]
        payloads = [payload for part in parts for payload in part.payloads()]
        first = np.concatenate([part.first for part in parts])
        messages = Messages(topics, payloads, received_us, _stamps(parts), first=first)
        return messages, [delivery.receipt for delivery in deliveries]

    def _next_batch(self) -> list[Delivery]:
        batch: list[Delivery] = []
        count = octets = 0
        while self._waiting:
            delivery, _ = self._waiting[0]
            count, octets = count + len(delivery), octets + delivery.octets
            if batch and (count > self._limits.batch_messages or octets > self._limits.batch_bytes):
                break
            self._waiting.popleft()
            batch.append(delivery)
            self.waiting_bytes -= delivery.octets
            self.waiting_messages -= len(delivery)
        return batch


def _stamps(parts: Sequence[RawMessages]) -> Stamps | None:
    """Return how senders numbered the messages of these reads; None when no message has any property."""
    if not any(np.any(part.properties_start != part.payload_start) for part in parts):
        return None
    if len(parts) == 1:
        data, start, end = parts[0].data, parts[0].properties_start, parts[0].payload_start
    else:
        # Copying the reads together is cheaper than looking at each by itself.
        data = b"".join([part.data for part in parts])
        base = np.cumsum([0, *(len(part.data) for part in parts)]).tolist()
        start = np.concatenate([part.properties_start + at for part, at in zip(parts, base, strict=False)])
        end = np.concatenate([part.payload_start + at for part, at in zip(parts, base, strict=False)])
    return Stamps(*read_numbers(data, start, end, _STAMP_NAMES))
