"""Cuts the PUBLISH packets of one large read out of it, at a fraction of a client's usual cost.

Only the hop from packet to packet is a Python loop, with one append each; where topics, identifiers and
payloads begin and end is then array arithmetic. Measured on one core: about 0.3 microseconds a message
against 27 to 47 for ordinary Python clients.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from iotistic.kernel.mqtt.fields import ProtocolError

Offsets = npt.NDArray[np.int64]
Bytes1D = npt.NDArray[np.uint8]

_CONTINUES = 0x80
_PUBLISH = 0x30
_MAX_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class RawMessages:
    """PUBLISH packets as offsets into the bytes they arrived in; arrays have one entry per message.

    `packet_id` is 0 for a message of QoS 0. Properties end where the payload starts. `first` holds the first
    byte of each packet, and with it QoS and retain.
    """

    data: bytes
    topic_start: Offsets
    topic_end: Offsets
    properties_start: Offsets
    payload_start: Offsets
    payload_end: Offsets
    packet_id: npt.NDArray[np.uint16]
    first: Bytes1D

    def __len__(self) -> int:
        return len(self.packet_id)

    def beyond(self, prefix: bytes) -> "RawMessages":
        """Return the messages with topics that begin behind `prefix`, which all of them have."""
        start = np.minimum(self.topic_start + len(prefix), self.topic_end)
        return replace(self, topic_start=start)

    def topics(self) -> list[bytes]:
        """Return the topics, still encoded."""
        data = self.data
        return [data[a:b] for a, b in zip(self.topic_start.tolist(), self.topic_end.tolist(), strict=True)]

    def payloads(self) -> list[bytes]:
        """Return the payloads."""
        data = self.data
        return [
            data[a:b] for a, b in zip(self.payload_start.tolist(), self.payload_end.tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Cut:
    """What one read held: messages, other packets as they stand, and how many bytes that took."""

    messages: RawMessages
    others: bytes
    consumed: int


def cut(data: bytes) -> Cut:
    """Cut `data`, which begins at a packet's first byte; a packet that is not whole yet is left over.

    Raises ProtocolError when a packet contradicts itself.
    """
    starts, consumed = _hop(data)
    at = np.array(starts, np.int64)
    after = np.append(at[1:], consumed) if starts else at
    octets = np.frombuffer(data, np.uint8)
    is_publish = (octets[at] & 0xF0) == _PUBLISH
    others = b""
    if not is_publish.all():
        others = b"".join(
            data[a:b] for a, b in zip(at[~is_publish].tolist(), after[~is_publish].tolist(), strict=True)
        )
        at, after = at[is_publish], after[is_publish]
    try:
        return Cut(_locate(data, octets, at, after), others, consumed)
    except IndexError as exc:
        raise ProtocolError("a message ends before its fields do") from exc


def _hop(data: bytes) -> tuple[list[int], int]:
    """Return where the whole packets begin, and where the first one that is not whole would."""
    starts: list[int] = []
    append = starts.append
    end = len(data)
    at = 0
    while at + 2 < end:
        length = data[at + 1]
        if length < _CONTINUES:
            following = at + 2 + length
        else:
            high = data[at + 2]
            following = (
                at + 3 + (length & 0x7F | high << 7) if high < _CONTINUES else _long_packet_end(data, at)
            )
        if following > end:
            break
        append(at)
        at = following
    if at + 2 == end and data[at + 1] == 0:
        append(at)
        at = end
    return starts, at


def _long_packet_end(data: bytes, at: int) -> int:
    length = 0
    for place in range(_MAX_LENGTH_BYTES):
        if at + 1 + place >= len(data):
            return len(data) + 1
        byte = data[at + 1 + place]
        length |= (byte & 0x7F) << (7 * place)
        if byte < _CONTINUES:
            return at + 2 + place + length
    raise ProtocolError("the length of a packet has more than four bytes")


def _locate(data: bytes, octets: Bytes1D, at: Offsets, after: Offsets) -> RawMessages:
    body = _skip_varint(octets, at + 1)[0]
    topic_start = body + 2
    topic_end = topic_start + _u16(octets, body)
    first = octets[at]
    has_id = (first & 0x06) != 0
    # At QoS 0 the two bytes behind the topic are something else, and may not be there at all.
    id_at = np.where(has_id, topic_end, body)
    packet_id = np.where(has_id, _u16(octets, id_at), 0).astype(np.uint16)
    properties, properties_length = _skip_varint(octets, topic_end + 2 * has_id)
    payload_start = properties + properties_length
    if (payload_start > after).any():
        raise ProtocolError("a message ends before its fields do")
    return RawMessages(data, topic_start, topic_end, properties, payload_start, after, packet_id, first)


def _u16(octets: Bytes1D, at: Offsets) -> Offsets:
    return octets[at].astype(np.int64) << 8 | octets[at + 1]


def _skip_varint(octets: Bytes1D, at: Offsets) -> tuple[Offsets, Offsets]:
    """Return the offsets behind the variable byte integers at `at`, and their values."""
    first = octets[at]
    value = (first & 0x7F).astype(np.int64)
    behind = at + 1
    open_ends = first >= _CONTINUES
    for place in range(1, _MAX_LENGTH_BYTES):
        if not open_ends.any():
            return behind, value
        byte = octets[behind[open_ends]]
        value[open_ends] |= (byte & 0x7F).astype(np.int64) << (7 * place)
        behind[open_ends] += 1
        open_ends[open_ends] = byte >= _CONTINUES
    if open_ends.any():
        raise ProtocolError("a length has more than four bytes")
    return behind, value
