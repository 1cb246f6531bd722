"""What the delivery ledger says to an agent and hears from it, read and written by hand.

What comes in is foreign: a document that breaks one rule is refused whole, and says why. The shapes stand in
`iotistic.contracts.delivery`, whose decoder an agent does not have.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple, cast

from iotistic.agent.link.errors import LedgerDocumentInvalid
from iotistic.agent.store.ranges import Range
from iotistic.contracts.stamps import LARGEST, MOST_ASKED, MOST_PAYLOAD_BYTES, MOST_RANGES

_MOST_ANSWERED = 400
"""Ranges of an answer: with the largest numbers they fit into what the ledger reads."""


class Request(NamedTuple):
    """Please send these again."""

    epoch: int
    ranges: list[Range]


class Receipt(NamedTuple):
    """All of an epoch up to `sent` is stored, but `missing`."""

    epoch: int
    sent: int
    missing: list[Range]


def read_request(payload: bytes) -> Request:
    """Read a request. Raises LedgerDocumentInvalid."""
    fields = _fields(payload)
    ranges = _ranges(fields.get("ranges"), "ranges")
    if sum(last - first + 1 for first, last in ranges) > MOST_ASKED:
        raise LedgerDocumentInvalid(f"more than {MOST_ASKED} messages are asked for")
    return Request(_number(fields.get("epoch"), "epoch"), ranges)


def read_receipt(payload: bytes) -> Receipt:
    """Read what is stored. Raises LedgerDocumentInvalid."""
    fields = _fields(payload)
    return Receipt(
        _number(fields.get("epoch"), "epoch"),
        _number(fields.get("sent"), "sent"),
        _ranges(fields.get("missing", []), "missing"),
    )


def write_answer(
    epoch: int, *, again: Iterable[Range], gone: Iterable[Range], waiting: Iterable[Range]
) -> bytes:
    """Write an answer; of more ranges than the ledger reads at once the first, and it will ask for the rest."""
    told = {"again": list(again), "gone": list(gone), "waiting": list(waiting)}
    left = _MOST_ANSWERED
    for name, ranges in told.items():
        told[name] = ranges[:left]
        left -= len(told[name])
    return json.dumps({"epoch": epoch, **told}, separators=(",", ":")).encode()


def _fields(payload: bytes) -> dict[str, object]:
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise LedgerDocumentInvalid(f"it has more than {MOST_PAYLOAD_BYTES} bytes")
    try:
        document: object = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise LedgerDocumentInvalid("it is not JSON") from exc
    if not isinstance(document, dict):
        raise LedgerDocumentInvalid("it is not a JSON object")
    return cast("dict[str, object]", document)


def _number(value: object, name: str, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
        raise LedgerDocumentInvalid(f"{name} is no whole number from {least} to {LARGEST}")
    return value


def _ranges(value: object, name: str) -> list[Range]:
    if not isinstance(value, list):
        raise LedgerDocumentInvalid(f"{name} is no list")
    listed = cast("list[object]", value)
    if len(listed) > MOST_RANGES:
        raise LedgerDocumentInvalid(f"{name} has more than {MOST_RANGES} entries")
    return [_range(one, name) for one in listed]


def _range(value: object, name: str) -> Range:
    pair = cast("list[object]", value) if isinstance(value, list) else []
    if len(pair) != 2:  # noqa: PLR2004  first and last
        raise LedgerDocumentInvalid(f"an entry of {name} is no pair of numbers")
    first, last = (_number(one, f"a number of {name}", 1) for one in pair)
    if first > last:
        raise LedgerDocumentInvalid(f"a range of {name} ends before it begins")
    return first, last
