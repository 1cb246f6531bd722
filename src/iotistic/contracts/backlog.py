"""How devices drain what they kept through an outage without hurting live readings.

A device that comes back sends new readings at once, on their ordinary topics. What it kept goes below
`backlog/`, under the same topic and with the same stamp, and only as fast as it is granted:

    device -> service   stat/f2-<mac>/backlog   {"waiting": 3600}
    service -> device   cmnd/f2-<mac>/backlog   {"grant": 100, "within_s": 30}
    device -> service   backlog/tele/f2-<mac>/sensor-mode/J3/sensor-1   ... 100 messages, QoS 1
    device -> service   stat/f2-<mac>/backlog   {"waiting": 3500}
    service -> device   cmnd/f2-<mac>/backlog   {"grant": 0, "retry_after_s": 12, "reason": "..."}

`waiting` counts the messages that are kept back and not under way. A device says it when it comes back,
and again once everything that it was granted is acknowledged or the time for it is over; that ends the
grant. `waiting: 0` says that it is done. A refusal says why and when to ask again; a grant may come before
that, and is then taken. Without any answer a device asks again, each time later, and after
`UNANSWERED_ASKS` it may send what it kept on the ordinary topics: there is nobody who grants.
"""

import re
from typing import Annotated, Any

import msgspec

from iotistic.contracts.mac import Mac, MacInvalid, parse_mac
from iotistic.kernel.errors import Invalid

PREFIX = "backlog/"
"""What stands before the topic of a message that was kept through an outage."""
FILTER = "backlog/#"
ASK_FILTER = "stat/+/backlog"
MOST_MESSAGES = 2**53 - 1
MOST_SECONDS = 86_400
MOST_PAYLOAD_BYTES = 1024
UNANSWERED_ASKS = 5

_ASK = re.compile(r"stat/f2-([0-9a-f]{12})/backlog")
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_MESSAGES)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST_SECONDS)]


class BacklogMessageInvalid(Invalid):
    """The message about a backlog does not have the shape that was agreed on."""

    code = "backlog.message_invalid"


class Ask(msgspec.Struct, frozen=True):
    """A device says how many messages it keeps back."""

    waiting: _Count


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device may send now, within so many seconds; with nothing granted, why, and when to ask again."""

    grant: _Count
    within_s: _Seconds = 0
    retry_after_s: _Seconds = 0
    reason: str = ""


def ask_topic(mac: Mac) -> str:
    """Return the topic that a device asks on."""
    return f"stat/f2-{mac}/backlog"


def grant_topic(mac: Mac) -> str:
    """Return the topic that a device is answered on."""
    return f"cmnd/f2-{mac}/backlog"


def asking_device(topic: str) -> Mac | None:
    """Return who asks, or None when the topic is not one of asking."""
    found = _ASK.fullmatch(topic)
    if found is None:
        return None
    try:
        return parse_mac(found[1])
    except MacInvalid:
        return None


_ask_decoder = msgspec.json.Decoder(Ask)
_grant_decoder = msgspec.json.Decoder(Grant)


def parse_ask(payload: bytes) -> Ask:
    """Read a question. Raises BacklogMessageInvalid."""
    ask: Ask = _decode(_ask_decoder, payload)
    return ask


def parse_grant(payload: bytes) -> Grant:
    """Read an answer. Raises BacklogMessageInvalid."""
    grant: Grant = _decode(_grant_decoder, payload)
    return grant


def encode(message: Ask | Grant) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def _decode(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise BacklogMessageInvalid(f"a message about a backlog has at most {MOST_PAYLOAD_BYTES} bytes")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BacklogMessageInvalid(str(exc)) from exc
