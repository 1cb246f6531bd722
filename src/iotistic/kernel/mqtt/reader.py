"""Cuts what a client hears out of a byte stream, strictly.

After a ProtocolError the connection is worthless and is to be closed; packets of the same `feed` that
were whole before the fault are given up too, which at QoS 1 only means that they come again. Nobody
may send a client what it did not ask for: QoS 2, topic aliases or enhanced authentication are faults.
"""

from iotistic.kernel.mqtt import fields
from iotistic.kernel.mqtt.fields import (
    ACKNOWLEDGEMENT_PROPERTIES,
    CONNACK_PROPERTIES,
    DISCONNECT_PROPERTIES,
    MAX_FIELD_BYTES,
    MAX_REMAINING_BYTES,
    PUBLISH_PROPERTIES,
    FieldReader,
    Property,
    ProtocolError,
)
from iotistic.kernel.mqtt.model import (
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Unsuback,
)
from iotistic.kernel.mqtt.reasons import REASON_NAMES, is_failure

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _UNSUBACK = 0x20, 0x30, 0x40, 0x90, 0xB0
_PINGRESP, _DISCONNECT = 0xD0, 0xE0
_DUP, _RETAIN = 0x08, 0x01
_AT_LEAST_ONCE = 1


class PacketReader:
    """Cuts packets for a client out of a stream that arrives in pieces of any size."""

    def __init__(self, *, max_packet_bytes: int = MAX_REMAINING_BYTES) -> None:
        self._buffer = bytearray()
        self._needed = 2
        self._max_packet_bytes = max_packet_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> list[Packet]:
        """Take what arrived; return the packets that are whole now. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        packets: list[Packet] = []
        at = 0
        while len(buffer) - at >= self._needed:
            start, end = self._bounds(at)
            if end > len(buffer):
                break
            packets.append(_decode(buffer[at], bytes(buffer[start:end])))
            at, self._needed = end, 2
        if at:
            del buffer[:at]
        return packets

    def _bounds(self, at: int) -> tuple[int, int]:
        """Return where the body of the packet at `at` starts and ends; note how many bytes that takes."""
        buffer = self._buffer
        length = 0
        for place in range(4):
            position = at + 1 + place
            if position >= len(buffer):
                self._needed = place + 2
                return position, position + 1
            byte = buffer[position]
            length |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                if length > self._max_packet_bytes:
                    raise ProtocolError(f"a packet of {length} bytes is larger than we take")
                self._needed = position + 1 + length - at
                return position + 1, position + 1 + length
        raise ProtocolError("the length of a packet has more than four bytes")


def _decode(first: int, body: bytes) -> Packet:
    if first & 0xF0 == _PUBLISH:
        return _decode_publish(first, body)
    decoder = _DECODERS.get(first)
    if decoder is None:
        raise ProtocolError(f"a packet that begins with {first:#04x} is not for a client")
    reader = FieldReader(body)
    packet = decoder(reader)
    if not reader.ended:
        raise ProtocolError("a packet is longer than its fields")
    return packet


def _decode_publish(first: int, body: bytes) -> Publish:
    qos = first >> 1 & 3
    dup = bool(first & _DUP)
    if qos > _AT_LEAST_ONCE or (dup and not qos):
        raise ProtocolError("a message has a QoS that was not asked for, or repeats one of QoS 0")
    reader = FieldReader(body)
    topic = reader.binary()
    if not topic or b"+" in topic or b"#" in topic:
        raise ProtocolError("a topic is empty or holds a wildcard")
    fields.checked_text(topic)
    packet_id = _read_packet_id(reader) if qos else None
    properties = reader.properties(PUBLISH_PROPERTIES)
    if Property.TOPIC_ALIAS in properties.numbers:
        raise ProtocolError("a topic alias was not asked for")
    return Publish(
        topic,
        reader.rest(),
        qos,
        bool(first & _RETAIN),
        dup,
        packet_id,
        tuple(properties.user),
        properties.binaries.get(Property.CORRELATION_DATA, b""),
    )


def _read_packet_id(reader: FieldReader) -> int:
    packet_id = reader.u16()
    if not packet_id:
        raise ProtocolError("a packet identifier is zero")
    return packet_id


def _read_reason(reader: FieldReader) -> int:
    reason = reader.byte()
    if reason not in REASON_NAMES:
        raise ProtocolError(f"reason {reason:#04x} is unknown")
    return reason


def _decode_connack(reader: FieldReader) -> Connack:
    flags = reader.byte()
    reason = _read_reason(reader)
    if flags > 1 or (flags and is_failure(reason)):
        raise ProtocolError("the flags of a CONNACK contradict it")
    properties = reader.properties(CONNACK_PROPERTIES)
    numbers, texts = properties.numbers, properties.texts
    return Connack(
        session_present=bool(flags),
        reason=reason,
        session_expiry_s=numbers.get(Property.SESSION_EXPIRY),
        receive_maximum=numbers.get(Property.RECEIVE_MAXIMUM, MAX_FIELD_BYTES),
        maximum_qos=numbers.get(Property.MAXIMUM_QOS, 2),
        maximum_packet_bytes=numbers.get(Property.MAXIMUM_PACKET_BYTES),
        server_keepalive_s=numbers.get(Property.SERVER_KEEP_ALIVE),
        assigned_client_id=texts.get(Property.ASSIGNED_CLIENT_ID),
        reason_text=texts.get(Property.REASON_STRING),
        shared_subscriptions=bool(numbers.get(Property.SHARED_SUBSCRIPTIONS_AVAILABLE, 1)),
    )


def _decode_puback(reader: FieldReader) -> Puback:
    packet_id = _read_packet_id(reader)
    reason = 0 if reader.ended else _read_reason(reader)
    if not reader.ended:
        reader.properties(ACKNOWLEDGEMENT_PROPERTIES)
    return Puback(packet_id, reason)


def _read_reasons(reader: FieldReader) -> tuple[int, tuple[int, ...]]:
    packet_id = _read_packet_id(reader)
    reader.properties(ACKNOWLEDGEMENT_PROPERTIES)
    reasons: list[int] = []
    while not reader.ended:
        reasons.append(_read_reason(reader))
    if not reasons:
        raise ProtocolError("an answer to a subscription holds no reason")
    return packet_id, tuple(reasons)


def _decode_suback(reader: FieldReader) -> Suback:
    return Suback(*_read_reasons(reader))


def _decode_unsuback(reader: FieldReader) -> Unsuback:
    return Unsuback(*_read_reasons(reader))


def _decode_pingresp(_reader: FieldReader) -> Pingresp:
    return Pingresp()


def _decode_disconnect(reader: FieldReader) -> Disconnect:
    if reader.ended:
        return Disconnect(0)
    reason = _read_reason(reader)
    if reader.ended:
        return Disconnect(reason)
    properties = reader.properties(DISCONNECT_PROPERTIES)
    return Disconnect(reason, properties.texts.get(Property.REASON_STRING))


_DECODERS = {
    _CONNACK: _decode_connack,
    _PUBACK: _decode_puback,
    _SUBACK: _decode_suback,
    _UNSUBACK: _decode_unsuback,
    _PINGRESP: _decode_pingresp,
    _DISCONNECT: _decode_disconnect,
}
