"""Dead letters as records: what could not become readings, with the reason, and where it stands in Kafka.

`source` is that place (topic/partition/offset): a letter that is written again, because a process died before
it could note that it had been, is the same letter.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from iotistic.telemetry.model import DeadLetter, Deliveries

MAX_PAYLOAD_BYTES = 4 << 20
"""Payloads beyond this are cut, or the letter would not fit into a record either."""
_MAX_DETAIL_CHARS = 1000
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


_Number = Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)]


class Letter(NamedTuple):
    """A dead letter, and the stamp of a message that became nothing else."""

    letter: DeadLetter
    sender: str | None = None
    epoch: int = -1
    sequence: int = -1


class LetterRecord(msgspec.Struct, omit_defaults=True):
    """A dead letter on the wire; bytes are base64, because letters are what is not in order."""

    topic: str
    payload: str
    reason: str
    detail: str = ""
    source: str | None = None
    received_at: int = 0
    sender: str | None = None
    epoch: _Number = -1
    sequence: _Number = -1


_decoder = msgspec.json.Decoder(LetterRecord)


def place_of(topic: str, partition: int, offset: int) -> str:
    """Return the name of a record's place."""
    return f"{topic}/{partition}/{offset}"


def encode_letters(letters: Sequence[Letter], *, received_us: int) -> tuple[list[bytes], list[bytes]]:
    """Return keys and values of records."""
    keys = [(one.letter.source or "").encode() for one in letters]
    return keys, [_encode(one, received_us) for one in letters]


def _encode(one: Letter, received_us: int) -> bytes:
    letter = one.letter
    payload, detail = letter.payload, letter.detail[:_MAX_DETAIL_CHARS]
    if len(payload) > MAX_PAYLOAD_BYTES:
        detail = f"the first {MAX_PAYLOAD_BYTES} of {len(payload)} bytes; {detail}"
        payload = payload[:MAX_PAYLOAD_BYTES]
    record = LetterRecord(
        base64.b64encode(letter.topic).decode(),
        base64.b64encode(payload).decode(),
        letter.reason,
        detail.encode("utf-8", "backslashreplace").decode(),
        letter.source,
        received_us,
        one.sender,
        one.epoch,
        one.sequence,
    )
    return msgspec.json.encode(record)


def decode_letters(
    records: Sequence[tuple[bytes | None, str]],
) -> tuple[list[DeadLetter], Deliveries | None]:
    """Read (value, place) of records; one that cannot be read is a dead letter itself."""
    found = [_decode(value, place) for value, place in records]
    stamped = [one for one in found if one.sender and one.sequence > 0 and one.epoch >= 0]
    delivered = Deliveries(
        [one.sender or "" for one in stamped],
        np.array([one.epoch for one in stamped], np.int64),
        np.array([one.sequence for one in stamped], np.int64),
    )
    return [one.letter for one in found], delivered if stamped else None


def _decode(value: bytes | None, place: str) -> Letter:
    try:
        record = _decoder.decode(value or b"")
        letter = DeadLetter(
            base64.b64decode(record.topic, validate=True),
            base64.b64decode(record.payload, validate=True),
            _storable(record.reason[:200]),
            record.detail[:_MAX_DETAIL_CHARS],
            _storable(record.source or place),
        )
    except _BROKEN as exc:
        detail = str(exc)[:_MAX_DETAIL_CHARS]
        return Letter(DeadLetter(b"", value or b"", "record.letter_invalid", detail, place))
    return Letter(letter, record.sender, record.epoch, record.sequence)


def _storable(text: str) -> str:
    return text.replace("\0", "\\0")
