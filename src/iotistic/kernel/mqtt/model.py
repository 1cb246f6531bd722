"""Packets of MQTT 5 as a client hears them."""

from dataclasses import dataclass

from iotistic.kernel.mqtt.fields import MAX_FIELD_BYTES


@dataclass(frozen=True, slots=True)
class Will:
    """A message the broker publishes for a client that goes without saying goodbye."""

    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False
    delay_s: int = 0


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT; None means it leaves the client's own wish in force."""

    session_present: bool
    reason: int
    session_expiry_s: int | None = None
    receive_maximum: int = MAX_FIELD_BYTES
    maximum_qos: int = 2
    maximum_packet_bytes: int | None = None
    server_keepalive_s: int | None = None
    assigned_client_id: str | None = None
    reason_text: str | None = None
    shared_subscriptions: bool = True


@dataclass(frozen=True, slots=True)
class Publish:
    """A message. `packet_id` is None at QoS 0."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int | None
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Puback:
    """The peer took responsibility for a message, or refused it (`reason` 0x80 and above)."""

    packet_id: int
    reason: int


@dataclass(frozen=True, slots=True)
class Suback:
    """One reason for each filter of the SUBSCRIBE, in its order: the granted QoS or a refusal."""

    packet_id: int
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """One reason for each filter of the UNSUBSCRIBE, in its order."""

    packet_id: int
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The broker is alive."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The broker ends the connection, and says why."""

    reason: int
    reason_text: str | None = None


Packet = Connack | Publish | Puback | Suback | Unsuback | Pingresp | Disconnect
