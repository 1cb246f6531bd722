"""Entries of the audit trail, and the hash that links each to the one before. Pure.

    hash of entry n  =  SHA-256( hash of entry n-1 ,  JSON of [n, every field of entry n] )

The JSON is an array of texts and numbers in a fixed order; `before`, `after` and `details` stand in it as the text that
the database gives them. So it takes no knowledge of ours to compute it elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.audit.port import Severity
from iotistic.kernel.errors import Invalid, NotFound

GENESIS = bytes(32)
"""What stands before the first entry."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AuditAnchorInvalid(Invalid):
    """An anchor is written as POSITION:HASH, as `iotistic audit head` prints it."""

    code = "audit.anchor_invalid"


class EventUnknown(NotFound):
    """There is no such event."""

    code = "event.unknown"


class PeriodInvalid(Invalid):
    """The period ends before it begins, or a time has no zone."""

    code = "event.period_invalid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An entry before it is written: cleaned of secrets."""

    at: datetime
    action: str
    severity: Severity
    actor_type: str
    actor_id: str
    subject_type: str
    subject_id: str
    device_uuid: UUID | None = None
    address: str = ""
    user_agent: str = ""
    correlation_id: str = ""
    before: object = None
    after: object = None
    details: Mapping[str, object] | None = None


LINKED = (
    "id", "event_id", "at", "event_type", "severity", "actor_type", "actor_id", "user_id", "aggregate_type",
    "aggregate_id", "device_uuid", "ip_address", "user_agent", "correlation_id", "before", "after", "details",
)  # fmt: skip
"""The fields that a link is made of, in their order: all of the row."""


def link_hash(previous: bytes, position: int, row: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry at a place of the chain; `row` has the fields LINKED, jsonb as text."""
    values = [position, *(_plain(row[name]) for name in LINKED)]
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(previous + text.encode()).digest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    return str(value) if isinstance(value, UUID) else value


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: what to write down elsewhere, to notice when the end is cut off."""

    position: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `POSITION:HASH`. Raises AuditAnchorInvalid."""
        position, _, digest = text.strip().partition(":")
        try:
            read = cls(int(position), bytes.fromhex(digest))
        except ValueError as exc:
            raise AuditAnchorInvalid from exc
        if not position.isdecimal() or len(read.hash) != len(GENESIS):
            raise AuditAnchorInvalid
        return read
