"""What a client sends, as bytes: QoS 0 and 1, no topic aliases, no enhanced authentication."""

from collections.abc import Iterable, Sequence

from iotistic.kernel.mqtt import fields
from iotistic.kernel.mqtt.fields import Property, ProtocolError
from iotistic.kernel.mqtt.model import Will

_CONNECT, _PUBLISH, _SUBSCRIBE, _UNSUBSCRIBE, _DISCONNECT = 0x10, 0x30, 0x82, 0xA2, 0xE0
_PROTOCOL = b"\x00\x04MQTT\x05"
_PINGREQ = b"\xc0\x00"
_CLEAN_START, _WILL, _WILL_RETAIN, _PASSWORD, _USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
_DUP, _RETAIN = 0x08, 0x01
_AT_LEAST_ONCE = 1


def _packet(first_byte: int, body: bytes) -> bytes:
    return bytes([first_byte]) + fields.varint(len(body)) + body


def _with_length(properties: bytes) -> bytes:
    return fields.varint(len(properties)) + properties


def _packet_id(packet_id: int) -> bytes:
    if not packet_id:
        raise ProtocolError("a packet identifier is never zero")
    return fields.u16(packet_id)


def encode_connect(
    *,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    keepalive_s: int,
    clean_start: bool,
    session_expiry_s: int = 0,
    receive_maximum: int | None = None,
    maximum_packet_bytes: int | None = None,
    will: Will | None = None,
) -> bytes:
    """Return CONNECT. `keepalive_s` 0 turns the keep-alive off; a receive maximum bounds what we are sent."""
    wishes = b""
    if session_expiry_s:
        wishes += fields.number_property(Property.SESSION_EXPIRY, session_expiry_s)
    if receive_maximum is not None:
        wishes += fields.number_property(Property.RECEIVE_MAXIMUM, receive_maximum)
    if maximum_packet_bytes is not None:
        wishes += fields.number_property(Property.MAXIMUM_PACKET_BYTES, maximum_packet_bytes)
    flags = _CLEAN_START if clean_start else 0
    payload = fields.text(client_id)
    if will is not None:
        flags |= _WILL | will.qos << 3 | (_WILL_RETAIN if will.retain else 0)
        delay = fields.number_property(Property.WILL_DELAY, will.delay_s) if will.delay_s else b""
        payload += _with_length(delay) + fields.binary(will.topic) + fields.binary(will.payload)
    if username is not None:
        flags |= _USERNAME
        payload += fields.text(username)
    if password is not None:
        flags |= _PASSWORD
        payload += fields.binary(password.encode())
    header = _PROTOCOL + bytes([flags]) + fields.u16(keepalive_s) + _with_length(wishes)
    return _packet(_CONNECT, header + payload)


def encode_publish(
    topic: bytes,
    payload: bytes,
    *,
    packet_id: int | None,
    qos: int,
    retain: bool = False,
    dup: bool = False,
    user_properties: Sequence[tuple[str, str]] = (),
    correlation: bytes = b"",
) -> bytes:
    """Return PUBLISH at QoS 0 (`packet_id` None) or 1. The topic is UTF-8 and holds no wildcard."""
    if qos not in (0, _AT_LEAST_ONCE) or (packet_id is None) != (qos == 0):
        raise ProtocolError("QoS is 0 without a packet identifier, or 1 with one")
    if not topic or b"+" in topic or b"#" in topic:
        raise ProtocolError("a topic to publish on is not empty and holds no wildcard")
    first = _PUBLISH | qos << 1 | (_RETAIN if retain else 0) | (_DUP if dup and qos else 0)
    identifier = b"" if packet_id is None else _packet_id(packet_id)
    properties = fields.user_properties(user_properties) if user_properties else b""
    if correlation:
        properties = fields.binary_property(Property.CORRELATION_DATA, correlation) + properties
    return _packet(first, fields.binary(topic) + identifier + _with_length(properties) + payload)


def encode_puback(packet_id: int, reason: int = 0) -> bytes:
    """Return PUBACK; a `reason` of 0x80 and above refuses the message."""
    if not reason:
        return b"\x40\x02" + _packet_id(packet_id)
    return b"\x40\x03" + _packet_id(packet_id) + bytes([reason])


def encode_subscribe(packet_id: int, filters: Iterable[tuple[str, int]]) -> bytes:
    """Return SUBSCRIBE for pairs of topic filter and highest QoS wanted."""
    wanted = b"".join(fields.text(topic_filter) + bytes([qos]) for topic_filter, qos in filters)
    if not wanted:
        raise ProtocolError("a subscription names at least one filter")
    return _packet(_SUBSCRIBE, _packet_id(packet_id) + b"\0" + wanted)


def encode_unsubscribe(packet_id: int, filters: Iterable[str]) -> bytes:
    """Return UNSUBSCRIBE for topic filters."""
    unwanted = b"".join(fields.text(topic_filter) for topic_filter in filters)
    if not unwanted:
        raise ProtocolError("an end of subscriptions names at least one filter")
    return _packet(_UNSUBSCRIBE, _packet_id(packet_id) + b"\0" + unwanted)


def encode_pingreq() -> bytes:
    """Return PINGREQ."""
    return _PINGREQ


def encode_disconnect(reason: int = 0, session_expiry_s: int | None = None) -> bytes:
    """Return DISCONNECT; a session expiry given here replaces the one of CONNECT."""
    if session_expiry_s is None:
        return _packet(_DISCONNECT, bytes([reason]) if reason else b"")
    expiry = fields.number_property(Property.SESSION_EXPIRY, session_expiry_s)
    return _packet(_DISCONNECT, bytes([reason]) + _with_length(expiry))
