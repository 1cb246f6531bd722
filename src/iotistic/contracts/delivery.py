"""How senders number their messages, and what is said about the ones that did not arrive.

A stamp is an epoch and a sequence number: as correlation data of MQTT 5, `S`, six bytes of epoch and one to
seven of number, which is the shortest; as one user property, `seq` with `<epoch>:<number>`; as two, `epoch` and `seq` (decimal); or as whole numbers `epoch` and `seq` of a JSON
payload. Sequence numbers begin at 1 in every epoch and grow by one with each new message; a message that is
sent again keeps its stamp. A sender begins a new epoch, larger than all before, when it cannot continue the
old one.

    service -> device   cmnd/f2-<mac>/resend           {"epoch": 7, "ranges": [[3, 5], [8, 9]]}
    device -> service   stat/f2-<mac>/resend           {"epoch": 7, "again": [[3, 5]], "gone": [[9, 9]],
                                                        "waiting": [[8, 8]]}
    service -> device   cmnd/f2-<mac>/receipt          {"epoch": 7, "sent": 120, "missing": [[3, 5]], ...}
    service -> device   cmnd/f2-<mac>/signed-receipt   {"version": 1, "source": "mac:...", "until": ..., ...}

Ranges are pairs of first and last, both included. `again` was sent again and acknowledged by the broker
or will be; `gone` the device does not hold any more; `waiting` it holds and will send by itself, when its
turn in the catch-up lane comes (contracts/backlog.py). After a receipt a device may forget what is stored:
everything up to `sent` that is not in `missing`.

A signed receipt is for keeping, not for acting on: once for each hour in which something of the device was
stored, at least once, exactly as `iotistic ledger receipts` prints it. It has a topic of its own because
devices read a `receipt` as what they may forget.

Agents are spoken to under their uuid (lower case, with hyphens) in the same words:

    service -> agent    iot/device/<uuid>/ledger/resend            and .../receipt, .../signed-receipt
    agent -> service    iot/device/<uuid>/ledger/resend/accepted

Senders that only a key names (sensor/<key>/...) are told nothing: no topic leads to them.
"""

import base64
import binascii
import re
from typing import Annotated, Any

import msgspec

from iotistic.contracts.mac import Mac, MacInvalid, parse_mac
from iotistic.contracts.stamps import (
    LARGEST,
    MOST_ASKED,
    MOST_PAYLOAD_BYTES,
    MOST_RANGES,
    RECEIPT,
    RESEND,
    SIGNED_RECEIPT,
    agent_topic,
    parse_stamp_data,
    stamp_data,
    stamp_property,
)
from iotistic.kernel.errors import Invalid

__all__ = [
    "LARGEST",
    "MOST_ASKED",
    "MOST_PAYLOAD_BYTES",
    "MOST_RANGES",
    "RECEIPT",
    "REPLY_FILTERS",
    "RESEND",
    "SIGNED_RECEIPT",
    "Confirmation",
    "DeliveryMessageInvalid",
    "ResendAnswer",
    "ResendRequest",
    "SignatureInvalid",
    "command_topic",
    "encode",
    "parse_answer",
    "parse_confirmation",
    "parse_request",
    "parse_stamp",
    "parse_stamp_data",
    "reply_sender",
    "reply_topic",
    "signature_of",
    "stamp_data",
    "stamp_property",
    "unsigned",
]

_MOST_DIGITS = 16

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_REPLY = re.compile(rf"stat/f2-([0-9a-f]{{12}})/resend|iot/device/({_UUID})/ledger/resend/accepted")
_SENDER = re.compile(rf"mac:([0-9a-f]{{12}})|uuid:({_UUID})")
_Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
_Range = tuple[_Number, _Number]
_Ranges = Annotated[list[_Range], msgspec.Meta(max_length=MOST_ASKED)]


class DeliveryMessageInvalid(Invalid):
    """The message about deliveries does not have the shape that was agreed on."""

    code = "delivery.message_invalid"


class SignatureInvalid(Invalid):
    """The receipt was not signed with this key, or it was changed since."""

    code = "delivery.signature_invalid"


class ResendRequest(msgspec.Struct, frozen=True):
    """Please send these again, with the stamps they had."""

    epoch: _Number
    ranges: _Ranges


class ResendAnswer(msgspec.Struct, frozen=True):
    """What a device did about a request."""

    epoch: _Number
    again: _Ranges = []
    gone: _Ranges = []
    waiting: _Ranges = []


class Confirmation(msgspec.Struct, frozen=True):
    """What of one epoch is stored: all up to `sent` but `missing`.

    When there are more ranges than one message lists, `sent` ends before the first that is left out.
    """

    epoch: _Number
    sent: _Number
    missing: list[_Range] = []


def parse_stamp(epoch: bytes, sequence: bytes) -> tuple[int, int] | None:
    """Read a stamp of two decimal numbers; None when it cannot be believed."""
    if not all(text.isdigit() and len(text) <= _MOST_DIGITS for text in (epoch, sequence)):
        return None
    stamp = int(epoch), int(sequence)
    return stamp if stamp[0] <= LARGEST and 1 <= stamp[1] <= LARGEST else None


def command_topic(source: str, verb: str) -> str | None:
    """Return the topic of a command to a sender; None for senders that read no commands.

    A sender's name may come from outside, so whatever is not exactly a MAC or a uuid is told nothing.
    """
    found = _SENDER.fullmatch(source)
    if found is None:
        return None
    mac, agent = found.groups()
    return f"cmnd/f2-{mac}/{verb}" if mac else agent_topic(agent, verb)


def reply_sender(topic: str) -> str | None:
    """Return the sender of an answer to a request, or None when the topic is not one of an answer."""
    found = _REPLY.fullmatch(topic)
    if found is None:
        return None
    mac, agent = found.groups()
    if agent:
        return f"uuid:{agent}"
    try:
        return f"mac:{parse_mac(mac)}"
    except MacInvalid:
        return None


def reply_topic(mac: Mac) -> str:
    """Return the topic that a device answers requests on."""
    return f"stat/f2-{mac}/resend"


REPLY_FILTERS = ("stat/+/resend", "iot/device/+/ledger/resend/accepted")

_request_decoder = msgspec.json.Decoder(ResendRequest)
_answer_decoder = msgspec.json.Decoder(ResendAnswer)
_confirmation_decoder = msgspec.json.Decoder(Confirmation)


def parse_request(payload: bytes) -> ResendRequest:
    """Read a request. Raises DeliveryMessageInvalid."""
    request = _decode(_request_decoder, payload)
    _check(request.ranges)
    return request


def parse_answer(payload: bytes) -> ResendAnswer:
    """Read an answer. Raises DeliveryMessageInvalid."""
    answer = _decode(_answer_decoder, payload)
    _check(answer.again)
    _check(answer.gone)
    _check(answer.waiting)
    return answer


def parse_confirmation(payload: bytes) -> Confirmation:
    """Read what is stored out of a receipt. Raises DeliveryMessageInvalid."""
    confirmation = _decode(_confirmation_decoder, payload)
    _check(confirmation.missing)
    return confirmation


def encode(message: ResendRequest | ResendAnswer | Confirmation) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def unsigned(receipt: dict[str, Any]) -> bytes:
    """Return the bytes of a receipt that are signed: compact JSON, keys in order, without the signature."""
    content = {key: value for key, value in receipt.items() if key != "signature"}
    return msgspec.json.encode(content, order="deterministic")


def signature_of(receipt: dict[str, Any]) -> bytes:
    """Return a receipt's signature. Raises SignatureInvalid when it has none."""
    try:
        return base64.b64decode(receipt["signature"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as exc:
        raise SignatureInvalid("the receipt has no signature that can be read") from exc


def _decode(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise DeliveryMessageInvalid(f"a message about deliveries has at most {MOST_PAYLOAD_BYTES} bytes")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise DeliveryMessageInvalid(str(exc)) from exc


def _check(ranges: list[_Range]) -> None:
    if any(first > last or not first for first, last in ranges):
        raise DeliveryMessageInvalid("a range is a first and a last number, from 1, in that order")
