"""Raw records: one message as a device sent it, with what its topic says taken apart.

    key     f2-<mac>, or the name that the topic gives its device
    value   {"topic": ..., "topic_type": ..., "device_mac": ..., "mode": ..., "connector": ...,
             "component": ..., "qos": 1, "retain": false, "payload": "{...}", "timestamp": ...,
             "received_at": ..., "epoch": ..., "sequence": ...}

`payload` is the payload as text, so that it comes out as it went in; `payload_base64` replaces it where the
bytes are no text. `received_at` is in microseconds and unlike any other record's of this connector: it
becomes the time of readings that have none, and a record that is read twice must give the same row twice.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from iotistic.contracts import f2
from iotistic.telemetry.decode.timestamps import to_microseconds
from iotistic.telemetry.decode.topics import TopicUnknown, parse_topic
from iotistic.telemetry.model import Int64s, Messages, Stamps

_MAX_TOPICS = 200_000
_STEP_US = 1_000_000  # a clock that was set back by more than this is followed
_AGENTS = b"iot/"
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FLAGS = [
    b',"qos":%d,"retain":%b' % (first >> 1 & 3, b"true" if first & 1 else b"false") for first in range(16)
]
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class RawEncoder:
    """Writes messages as records. What a topic says is written once and kept."""

    def __init__(self) -> None:
        self._topics: dict[bytes, tuple[bytes, bytes]] = {}
        self._free_us = 0

    def encode(self, messages: Messages) -> tuple[list[bytes], list[bytes]]:
        """Return the keys and the values of the records, one for each message."""
        heads = [self._topics.get(topic) or self._learn(topic) for topic in messages.topics]
        now = _iso(messages.received_us)
        tails = [b',"timestamp":"%b","received_at":%d' % (now, at) for at in self._times(messages)]
        if messages.first is not None:
            tails = [flags + tail for flags, tail in zip(_flags(messages.first), tails, strict=True)]
        if messages.stamps is not None:
            tails = list(map(_with_stamp, tails, messages.stamps.epoch, messages.stamps.sequence))
        values = [
            b"%b%b%b}" % (head, payload, tail)
            for (_, head), payload, tail in zip(heads, _payloads(messages.payloads), tails, strict=True)
        ]
        return [key for key, _ in heads], values

    def _learn(self, topic: bytes) -> tuple[bytes, bytes]:
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        entry = self._topics[topic] = (
            _key(topic),
            _encode(_described(topic))[:-1],
        )
        return entry

    def _times(self, messages: Messages) -> list[int]:
        """Return a time of receipt for each message, leaving room for the readings of agents' batches."""
        start = messages.received_us
        if start < self._free_us <= start + _STEP_US:
            start = self._free_us
        room = [
            1 + payload.count(b",") if topic.startswith(_AGENTS) else 1
            for topic, payload in zip(messages.topics, messages.payloads, strict=True)
        ]
        ends = np.cumsum(np.array(room, np.int64)) + start
        self._free_us = int(ends[-1]) if len(ends) else start
        return (ends - np.array(room, np.int64)).tolist()


class RawRecord(msgspec.Struct, gc=False):
    """What is read of a raw record; other writers' records may lack what only ours have."""

    topic: str
    payload: Any = None
    payload_base64: str | None = None
    timestamp: str | int | float | None = None
    received_at: int | None = None
    epoch: int = -1
    sequence: int = -1


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Messages read from records. `places` are their indices in the batch; `faults` tell of the others."""

    messages: Messages
    places: list[int]
    faults: list[tuple[int, str]]


_decoder = msgspec.json.Decoder(RawRecord)


def decode_raw(values: Sequence[bytes | None], *, read_us: int) -> RawBatch:
    """Read records; one that cannot be read becomes a fault and costs no other one anything."""
    decode = _decoder.decode
    try:
        records = [decode(value) for value in values]  # type: ignore[arg-type]  # None is refused as a record
        payloads = list(map(_payload, records))
    except (*_BROKEN, TypeError, ValueError):
        return _decode_singly(values, read_us)
    return RawBatch(_messages(records, payloads, read_us), list(range(len(values))), [])


def _decode_singly(values: Sequence[bytes | None], read_us: int) -> RawBatch:
    records: list[RawRecord] = []
    payloads: list[bytes] = []
    places: list[int] = []
    faults: list[tuple[int, str]] = []
    for place, value in enumerate(values):
        try:
            record = _decoder.decode(value or b"")
            payload = _payload(record)
        except (*_BROKEN, ValueError) as exc:
            faults.append((place, str(exc)))
            continue
        records.append(record)
        payloads.append(payload)
        places.append(place)
    return RawBatch(_messages(records, payloads, read_us), places, faults)


def _messages(records: list[RawRecord], payloads: list[bytes], read_us: int) -> Messages:
    topics = [record.topic.encode("utf-8", "backslashreplace") for record in records]
    received = [record.received_at for record in records]
    times = np.array(
        [_own_time(record, read_us) for record in records] if None in received else received, np.int64
    )
    sequence = np.array([record.sequence for record in records], np.int64)
    stamps = None
    if (sequence >= 0).any():
        stamps = Stamps(np.array([record.epoch for record in records], np.int64), sequence)
    first_us = int(times[0]) if len(times) else read_us
    return Messages(topics, payloads, first_us, stamps, times)


def _own_time(record: RawRecord, read_us: int) -> int:
    """Return a record's time of receipt; a record that has none at all is received now."""
    if record.received_at is not None:
        return record.received_at
    found: Int64s = to_microseconds([record.timestamp])
    return int(found[0]) if found[0] > 0 else read_us


def _payload(record: RawRecord) -> bytes:
    payload = record.payload
    if isinstance(payload, str):
        return payload.encode()
    if record.payload_base64 is not None:
        return base64.b64decode(record.payload_base64, validate=True)
    if payload is None:
        raise ValueError("the record has no payload")
    return _encode(payload)


def _payloads(payloads: Sequence[bytes]) -> list[bytes]:
    try:
        return [b',"payload":%b' % _encode(payload.decode()) for payload in payloads]
    except UnicodeDecodeError:
        return list(map(_payload_field, payloads))


def _payload_field(payload: bytes) -> bytes:
    try:
        return b',"payload":%b' % _encode(payload.decode())
    except UnicodeDecodeError:
        return b',"payload":null,"payload_base64":"%b"' % base64.b64encode(payload)


def _flags(first: npt.NDArray[np.uint8]) -> list[bytes]:
    return list(map(_FLAGS.__getitem__, (first & 0x0F).tolist()))


def _with_stamp(tail: bytes, epoch: int, sequence: int) -> bytes:
    return tail if sequence < 0 else b'%b,"epoch":%d,"sequence":%d' % (tail, epoch, sequence)


def _iso(time_us: int) -> bytes:
    text = datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z").encode()


def _key(topic: bytes) -> bytes:
    """Return the sender's name; readings of one sender share a partition and stay in order."""
    try:
        device = parse_topic(topic).device
    except TopicUnknown:
        return topic
    if device is None:  # the payload names it
        return topic
    return f"{f2.CLIENT_PREFIX if device.kind == 'mac' else ''}{device.key}".encode()


def _described(topic: bytes) -> dict[str, str | None]:
    text = topic.decode("utf-8", "backslashreplace")
    found: dict[str, str | None] = {"topic": text, "topic_type": text.partition("/")[0]}
    try:
        parsed = f2.parse_topic(text)
    except f2.TopicInvalid:
        return found | dict.fromkeys(("device_mac", "mode", "connector", "component"))
    return found | {
        "device_mac": parsed.mac,
        "mode": parsed.mode,
        "connector": parsed.connector,
        "component": parsed.component,
    }
