"""Fields that MQTT 5 packets are made of: integers, strings, binary data and properties."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from iotistic.kernel.errors import Invalid

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
MAX_FIELD_BYTES = 0xFFFF
MAX_REMAINING_BYTES = 268_435_455
_CONTINUES = 0x80


class ProtocolError(Invalid):
    """These bytes are not, or cannot become, an MQTT 5 packet."""

    code = "mqtt.protocol_error"


class Property(IntEnum):
    """Identifiers of the properties that a packet may carry."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    WILL_DELAY = 0x18
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_BYTES = 0x27
    WILDCARDS_AVAILABLE = 0x28
    SUBSCRIPTION_IDS_AVAILABLE = 0x29
    SHARED_SUBSCRIPTIONS_AVAILABLE = 0x2A


_P = Property
_BYTES = {
    _P.PAYLOAD_FORMAT,
    _P.MAXIMUM_QOS,
    _P.RETAIN_AVAILABLE,
    _P.WILDCARDS_AVAILABLE,
    _P.SUBSCRIPTION_IDS_AVAILABLE,
    _P.SHARED_SUBSCRIPTIONS_AVAILABLE,
}
_U16S = {_P.SERVER_KEEP_ALIVE, _P.RECEIVE_MAXIMUM, _P.TOPIC_ALIAS_MAXIMUM, _P.TOPIC_ALIAS}
_U32S = {_P.MESSAGE_EXPIRY, _P.SESSION_EXPIRY, _P.WILL_DELAY, _P.MAXIMUM_PACKET_BYTES}
_BINARIES = {_P.CORRELATION_DATA, _P.AUTHENTICATION_DATA}
_NEVER_ZERO = {_P.RECEIVE_MAXIMUM, _P.MAXIMUM_PACKET_BYTES, _P.SUBSCRIPTION_ID, _P.TOPIC_ALIAS}

ACKNOWLEDGEMENT_PROPERTIES = frozenset({_P.REASON_STRING, _P.USER_PROPERTY})
DISCONNECT_PROPERTIES = ACKNOWLEDGEMENT_PROPERTIES | {_P.SESSION_EXPIRY, _P.SERVER_REFERENCE}
CONNACK_PROPERTIES = DISCONNECT_PROPERTIES | {
    _P.ASSIGNED_CLIENT_ID,
    _P.SERVER_KEEP_ALIVE,
    _P.AUTHENTICATION_METHOD,
    _P.AUTHENTICATION_DATA,
    _P.RESPONSE_INFORMATION,
    _P.RECEIVE_MAXIMUM,
    _P.TOPIC_ALIAS_MAXIMUM,
    _P.MAXIMUM_QOS,
    _P.RETAIN_AVAILABLE,
    _P.MAXIMUM_PACKET_BYTES,
    _P.WILDCARDS_AVAILABLE,
    _P.SUBSCRIPTION_IDS_AVAILABLE,
    _P.SHARED_SUBSCRIPTIONS_AVAILABLE,
}
PUBLISH_PROPERTIES = frozenset(
    {
        _P.PAYLOAD_FORMAT,
        _P.MESSAGE_EXPIRY,
        _P.CONTENT_TYPE,
        _P.RESPONSE_TOPIC,
        _P.CORRELATION_DATA,
        _P.SUBSCRIPTION_ID,
        _P.TOPIC_ALIAS,
        _P.USER_PROPERTY,
    }
)


@dataclass
class Properties:
    """Properties of one packet, apart by the type of their value."""

    numbers: dict[Property, int] = field(default_factory=dict[Property, int])
    texts: dict[Property, str] = field(default_factory=dict[Property, str])
    binaries: dict[Property, bytes] = field(default_factory=dict[Property, bytes])
    user: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class FieldReader:
    """Takes fields off the front of one packet's body; raises ProtocolError when it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def ended(self) -> bool:
        """Nothing is left."""
        return self._at == len(self._body)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = self._at + count
        if end > len(self._body):
            raise ProtocolError("a packet ends in the middle of a field")
        taken = self._body[self._at : end]
        self._at = end
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._body) - self._at)

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes, big-endian."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Return the next four bytes, big-endian."""
        return int(_U32.unpack(self.take(4))[0])

    def varint(self) -> int:
        """Return the next variable byte integer: at most four bytes, in its shortest form."""
        value = 0
        for place in range(4):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < _CONTINUES:
                if place and not byte:
                    raise ProtocolError("a variable byte integer is longer than needed")
                return value
        raise ProtocolError("a variable byte integer has more than four bytes")

    def binary(self) -> bytes:
        """Return binary data with its two length bytes taken off."""
        return self.take(self.u16())

    def text(self) -> str:
        """Return a UTF-8 string; NUL and surrogates are refused as the standard asks."""
        return checked_text(self.binary())

    def properties(self, allowed: frozenset[Property]) -> Properties:
        """Return the properties; refuse one that this packet may not carry, or carries twice."""
        inner = FieldReader(self.take(self.varint()))
        found = Properties()
        while not inner.ended:
            identifier = inner.varint()
            if identifier not in allowed:
                raise ProtocolError(f"property {identifier:#04x} does not belong into this packet")
            inner.read_property(Property(identifier), found)
        return found

    def read_property(self, name: Property, into: Properties) -> None:
        """Read the value of property `name` into `into`."""
        if name is _P.USER_PROPERTY:
            into.user.append((self.text(), self.text()))
            return
        # A message that matches several subscriptions may carry one identifier for each of them.
        if name is not _P.SUBSCRIPTION_ID and (
            name in into.numbers or name in into.texts or name in into.binaries
        ):
            raise ProtocolError(f"property {name.name.lower()} stands twice")
        if name in _BINARIES:
            into.binaries[name] = self.binary()
        elif (number := self._number(name)) is not None:
            into.numbers[name] = number
        else:
            into.texts[name] = self.text()

    def _number(self, name: Property) -> int | None:
        if name in _BYTES:
            number = self.byte()
            if number > 1:
                raise ProtocolError(f"property {name.name.lower()} is 0 or 1")
        elif name in _U16S:
            number = self.u16()
        elif name in _U32S:
            number = self.u32()
        elif name is _P.SUBSCRIPTION_ID:
            number = self.varint()
        else:
            return None
        if not number and name in _NEVER_ZERO:
            raise ProtocolError(f"property {name.name.lower()} cannot be zero")
        return number


def checked_text(raw: bytes) -> str:
    """Decode a UTF-8 string of the standard, which holds no NUL and no surrogates."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ProtocolError("a string is not UTF-8") from exc
    if "\0" in text:
        raise ProtocolError("a string holds the character NUL")
    return text


def varint(value: int) -> bytes:
    """Return `value` as a variable byte integer."""
    if not 0 <= value <= MAX_REMAINING_BYTES:
        raise ProtocolError("a packet holds at most 268,435,455 bytes")
    encoded = bytearray()
    while value >= _CONTINUES:
        encoded.append(value & 0x7F | _CONTINUES)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def binary(value: bytes) -> bytes:
    """Return `value` with its length in front."""
    if len(value) > MAX_FIELD_BYTES:
        raise ProtocolError("a field holds at most 65,535 bytes")
    return _U16.pack(len(value)) + value


def text(value: str) -> bytes:
    """Return a string in UTF-8 with its length in front."""
    if "\0" in value:
        raise ProtocolError("a string holds the character NUL")
    try:
        return binary(value.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise ProtocolError("a string holds a lone surrogate") from exc


def u16(value: int) -> bytes:
    """Return two bytes, big-endian."""
    if not 0 <= value <= MAX_FIELD_BYTES:
        raise ProtocolError(f"{value} does not fit into two bytes")
    return _U16.pack(value)


def number_property(name: Property, value: int) -> bytes:
    """Return a property with a number, in the width that the property has."""
    width = _U32 if name in _U32S else _U16 if name in _U16S else struct.Struct("B")
    try:
        return bytes([name]) + width.pack(value)
    except struct.error as exc:
        raise ProtocolError(f"property {name.name.lower()} cannot be {value}") from exc


def binary_property(name: Property, value: bytes) -> bytes:
    """Return a property with binary data."""
    return bytes([name]) + binary(value)


def user_properties(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Return user properties, in order."""
    return b"".join(bytes([_P.USER_PROPERTY]) + text(key) + text(value) for key, value in pairs)
