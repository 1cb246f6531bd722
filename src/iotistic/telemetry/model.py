"""What flows between the stages: batches as columns, never one object per reading on the hot path."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bytes2D = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stamps:
    """How senders numbered their messages: one entry per message, both -1 where it has no (valid) stamp."""

    epoch: Int64s
    sequence: Int64s

    def __len__(self) -> int:
        return len(self.sequence)

    def split(self, at: int) -> "tuple[Stamps, Stamps]":
        """Return the stamps before `at` and the others."""
        return (
            Stamps(self.epoch[:at], self.sequence[:at]),
            Stamps(self.epoch[at:], self.sequence[at:]),
        )


@dataclass(frozen=True, slots=True)
class Messages:
    """Raw messages in order of arrival. `received_us` is when the batch was taken from the socket.

    `stamps` holds what senders wrote beside their payloads; None when no message has one. `each_us` is
    when each message was received, where they did not come together; a message read twice has the same,
    and one that holds several readings is followed by as many microseconds that are no other message's.
    `first` is the first byte of each MQTT packet; None where nobody asks for QoS and retain.
    """

    topics: list[bytes]
    payloads: list[bytes]
    received_us: int
    stamps: Stamps | None = None
    each_us: Int64s | None = None
    first: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.topics)

    def split(self, at: int) -> "tuple[Messages, Messages]":
        """Return the messages before `at` and the others, each with the time of receipt it had."""
        before, behind = (None, None) if self.stamps is None else self.stamps.split(at)
        early, late = (None, None) if self.each_us is None else (self.each_us[:at], self.each_us[at:])
        return (
            Messages(self.topics[:at], self.payloads[:at], self.received_us, before, early),
            Messages(self.topics[at:], self.payloads[at:], self.received_us + at, behind, late),
        )


class DeviceRef(NamedTuple):
    """How a message names its device: `kind` is mac, uuid or key."""

    kind: str
    key: str


class SeriesRef(NamedTuple):
    """A series before it is resolved.

    `connector` and `position` (both from 1) name the pin that a sensor device sits on; 0 means that
    the device itself is meant. An empty `label` means all datapoints of the sensor's template.
    """

    device: DeviceRef
    label: str
    connector: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """One message that gives no reading (or not all of them): its index, a stable code, and words for people."""

    message: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """Numeric readings of decoded messages; all arrays have one entry per reading.

    `series` indexes the decoder's series table, `message` the batch.
    """

    series: Int64s
    time_us: Int64s
    value: Floats
    message: Int64s


@dataclass(frozen=True, slots=True)
class Frames:
    """Modbus replies of one length whose checksum is right; `data` has shape (n, length)."""

    series: Int64s
    time_us: Int64s
    message: Int64s
    data: Bytes2D


class TextReading(NamedTuple):
    """A reading that is text, such as a card number."""

    series: int
    time_us: int
    text: str
    message: int


@dataclass(slots=True)
class Decoded:
    """What one batch of messages says, before anyone knows which rows that makes."""

    values: list[Values] = field(default_factory=list[Values])
    frames: list[Frames] = field(default_factory=list[Frames])
    texts: list[TextReading] = field(default_factory=list[TextReading])
    failures: list[Failure] = field(default_factory=list[Failure])
    deliveries: "Deliveries | None" = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Numeric rows for `decoded_data`; four arrays of one length."""

    device_id: Int32s
    datapoint_id: Int32s
    time_us: Int64s
    value: Floats

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, index: Int64s | npt.NDArray[np.bool_] | slice) -> "Rows":
        """Return the rows at `index`."""
        return Rows(self.device_id[index], self.datapoint_id[index], self.time_us[index], self.value[index])


class EventRow(NamedTuple):
    """One row of `telemetry_events`."""

    device_id: int
    datapoint_id: int
    time_us: int
    text: str


class DeadLetter(NamedTuple):
    """A message that is kept because it could not be stored as readings.

    `source` is where it can be read again; two letters with the same are one.
    """

    topic: bytes
    payload: bytes
    reason: str
    detail: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The stamped messages of a batch, one entry each, in order of arrival.

    `source` is the sender as the topic names it: `mac:<12 hex>`, `uuid:<uuid>` or `key:<key>`.
    """

    source: list[str]
    epoch: Int64s
    sequence: Int64s
    refused: int = 0
    """Messages whose stamps could not be believed; they are stored as messages without one."""
    message: Int64s | None = None
    """Which message of its batch each is; None once batches were joined."""

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class Origin:
    """Which message of the batch each row, event and dead letter of it came from.

    `controller` is the device that sent each row, 0 where the look-up did not tell.
    """

    rows: Int64s
    controller: Int32s
    events: list[int]
    dead_letters: list[int]


@dataclass(frozen=True, slots=True)
class Places:
    """Which record each row and event of a batch was read from, and where that can be read again."""

    tell: Callable[[int], str]
    rows: Sequence[int]
    events: Sequence[int]

    def take(self, rows: slice, events: slice) -> "Places":
        """Return the places of some rows and events."""
        return Places(self.tell, self.rows[rows], self.events[events])


@dataclass(frozen=True, slots=True)
class Resolved:
    """Everything that one batch writes, in one transaction.

    `deliveries` are the stamped messages that are stored once this is; None when there are none.
    `origin` is there only for those who ask the resolver for it, `places` only where rows were read from records.
    """

    rows: Rows
    events: list[EventRow]
    dead_letters: list[DeadLetter]
    received_us: int
    deliveries: Deliveries | None = None
    origin: Origin | None = None
    places: Places | None = None


def no_rows() -> Rows:
    """Return an empty batch of rows."""
    return Rows(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))


def concat_rows(parts: list[Rows]) -> Rows:
    """Join batches of rows in order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_rows()
    return Rows(
        np.concatenate([part.device_id for part in parts]),
        np.concatenate([part.datapoint_id for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def concat_deliveries(parts: Iterable[Deliveries | None]) -> Deliveries | None:
    """Join deliveries in order; None when there are none."""
    found = [part for part in parts if part is not None]
    if len(found) <= 1:
        return found[0] if found else None
    return Deliveries(
        [source for part in found for source in part.source],
        np.concatenate([part.epoch for part in found]),
        np.concatenate([part.sequence for part in found]),
        sum(part.refused for part in found),
    )
