"""Processed records: one reading each, as JSON, and what marks the end of a message.

    key     device:datapoint
    value   {"deviceid": 7, "datapointid": 12, "controller_device_id": 3, "connector": "J1",
             "component": "sensor-2", "timestamp": "...", "value": 21.5, "received_at": ...,
             "epoch": 1, "sequence": 9, "source": "mac:..."}

`timestamp` has microseconds, `received_at` is microseconds since the epoch. A text reading has `text` instead
of `value`. All readings of one message go to one partition, in order, and only the last of them carries the
message's stamp (epoch, sequence, source): when it is stored, all of the message is.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from iotistic.contracts import f2
from iotistic.telemetry.model import Deliveries, EventRow, Int64s, Messages, Origin, Resolved, Rows
from iotistic.telemetry.transports.kafka.producer import Outgoing

_MAX_HEADS = 500_000
_ID_BITS = 32
_MAX_ID = 2**31 - 1
_NO_STAMP = b""
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class _Head(NamedTuple):
    """What all readings of one series from one topic have in common."""

    key: bytes
    start: bytes
    partition: int


class ReadingEncoder:
    """Writes what the resolver found as records. The head of a series is written once and kept."""

    def __init__(self, topic: str, *, partitions: int) -> None:
        self._topic, self._partitions = topic, partitions
        self._heads: dict[tuple[bytes, int], _Head] = {}

    def encode(self, batch: Resolved, messages: Messages) -> Outgoing:
        """Return the records of a batch that was resolved with its origin."""
        origin = batch.origin
        if origin is None:
            raise ValueError("the resolver was not asked where rows come from")
        message, heads, bodies = self._columns(batch, origin, messages)
        each_us = messages.each_us
        when: list[int] = [messages.received_us] * len(messages) if each_us is None else each_us.tolist()
        stamps = _stamps(batch.deliveries, message)
        values = [
            b'%b%b,"received_at":%d%b}' % (head.start, body, when[place], stamp)
            for head, body, place, stamp in zip(heads, bodies, message, stamps, strict=True)
        ]
        partitions = [head.partition for head in heads]
        return Outgoing(self._topic, [head.key for head in heads], values, partitions)

    def _columns(
        self, batch: Resolved, origin: Origin, messages: Messages
    ) -> tuple[list[int], list[_Head], list[bytes]]:
        """Return message, head and body of each reading, in the order of messages."""
        rows = batch.rows
        order = np.argsort(origin.rows, kind="stable")
        rows, topics = rows.take(order), messages.topics
        message: list[int] = origin.rows[order].tolist()
        series: list[int] = ((rows.device_id.astype(np.int64) << _ID_BITS) | rows.datapoint_id).tolist()
        controllers: list[int] = origin.controller[order].tolist()
        known = self._heads
        heads = [
            known.get((topics[place], one)) or self._learn(topics[place], one, controller)
            for place, one, controller in zip(message, series, controllers, strict=True)
        ]
        bodies = _numbers(rows)
        if batch.events:
            return self._with_events(batch.events, origin.events, messages, (message, heads, bodies))
        return message, heads, bodies

    def _with_events(
        self,
        events: list[EventRow],
        places: list[int],
        messages: Messages,
        columns: tuple[list[int], list[_Head], list[bytes]],
    ) -> tuple[list[int], list[_Head], list[bytes]]:
        """Return the columns with text readings among them, where their messages are."""
        message, heads, bodies = columns
        for event, place in zip(events, places, strict=True):
            topic, one = messages.topics[place], event.device_id << _ID_BITS | event.datapoint_id
            message.append(place)
            heads.append(self._heads.get((topic, one)) or self._learn(topic, one, event.device_id))
            text = _encode(event.text.encode("utf-8", "backslashreplace").decode())
            bodies.append(b',"timestamp":"%bZ","text":%b' % (_iso(np.array([event.time_us]))[0], text))
        order = sorted(range(len(message)), key=message.__getitem__)
        return [message[i] for i in order], [heads[i] for i in order], [bodies[i] for i in order]

    def _learn(self, topic: bytes, series: int, controller: int) -> _Head:
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        device, datapoint = series >> _ID_BITS, series & _MAX_ID
        fields = {"deviceid": device, "datapointid": datapoint, "controller_device_id": controller or None}
        head = self._heads[topic, series] = _Head(
            b"%d:%d" % (device, datapoint),
            _encode(fields | _place(topic))[:-1],
            partition_of(topic, self._partitions),
        )
        return head


def partition_of(topic: bytes, partitions: int) -> int:
    """Return the partition of a sender, which its topic names: all of one device stay together, in order."""
    levels = topic.split(b"/")
    sender = levels[2] if levels[0] == b"iot" and len(levels) > 2 else levels[min(1, len(levels) - 1)]  # noqa: PLR2004
    return zlib.crc32(sender) % partitions


def _place(topic: bytes) -> dict[str, str | None]:
    try:
        parsed = f2.parse_topic(topic.decode())
    except (f2.TopicInvalid, UnicodeDecodeError):
        return {"connector": None, "component": None}
    return {"connector": parsed.connector, "component": parsed.component}


def _numbers(rows: Rows) -> list[bytes]:
    if not len(rows):
        return []
    values = _encode(rows.value.tolist())[1:-1].split(b",")
    return list(map(b',"timestamp":"%bZ","value":%b'.__mod__, zip(_iso(rows.time_us), values, strict=True)))


def _iso(time_us: Int64s) -> list[bytes]:
    """Return times as ISO 8601 with microseconds, in UTC; the Z is left to who writes them."""
    times: list[bytes] = time_us.astype("datetime64[us]").astype("S26").tolist()
    return times


def _stamps(deliveries: Deliveries | None, message: list[int]) -> list[bytes]:
    """Return for each reading the stamp of its message if it is the last of it, otherwise nothing."""
    if deliveries is None or deliveries.message is None or not len(deliveries):
        return [_NO_STAMP] * len(message)
    of_message = {
        place: b',"epoch":%d,"sequence":%d,"source":%b' % (epoch, sequence, _encode(source))
        for place, epoch, sequence, source in zip(
            deliveries.message.tolist(),
            deliveries.epoch.tolist(),
            deliveries.sequence.tolist(),
            deliveries.source,
            strict=True,
        )
    }
    following = [*message[1:], -1]
    return [
        _NO_STAMP if place == after else of_message.get(place, _NO_STAMP)
        for place, after in zip(message, following, strict=True)
    ]
