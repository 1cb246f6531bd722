"""Reads audit entries and events as one stream: search, follow by cursor, count, replay.

Every query starts from what the caller may see. Who may not read the audit trail sees what is about devices, without
addresses of people.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.access.model import Scope
from iotistic.control.audit.model import PeriodInvalid
from iotistic.control.audit.replay import PARTS, Change, DeviceState, Happened, compare, replay
from iotistic.kernel.postgres.pool import database_errors

_COLUMNS = (
    "id, event_id, at, event_type, event_version, aggregate_type, aggregate_id, device_uuid, data::text AS data, "
    "metadata::text AS metadata, correlation_id, causation_id, source, actor_type, actor_id, severity"
)
_WHOLE = "(checksum IS NULL OR checksum = encode(sha256(convert_to(data::text, 'UTF8')), 'hex')) AS is_whole"
MOST_REPLAYED = 10_000
_LONGEST = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class View:
    """What a caller may see: which devices, and whether the audit trail."""

    scope: Scope
    sees_audit: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a search asks for; what is None or empty does not matter."""

    device: UUID | None = None
    kinds: Sequence[str] = ()
    aggregates: Sequence[str] = ()
    start: datetime | None = None
    end: datetime | None = None
    severity: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    correlation_id: str | None = None
    after_id: int | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A stretch of a device's life."""

    events: list[Happened]
    state: DeviceState
    is_cut: bool


class EventStream:
    """The use cases around reading."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def search(
        self, view: View, wanted: Wanted, *, limit: int, offset: int = 0, oldest_first: bool = False
    ) -> list[dict[str, Any]]:
        """Return what fits, the newest first unless told otherwise."""
        where, arguments = _where(view, wanted)
        order = "id" if oldest_first else "at DESC, id DESC"
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT {_COLUMNS} FROM event_stream WHERE {where} ORDER BY {order} "  # noqa: S608  constants
                f"LIMIT {int(limit)} OFFSET {int(offset)}",
                *arguments,
            )
        return [_shown(row, view) for row in rows]

    async def counts(
        self, view: View, wanted: Wanted, *, by: Sequence[str], bucket: timedelta | None = None
    ) -> list[dict[str, Any]]:
        """Return how many there are by columns (event_type, severity, source, actor_type), and by time with `bucket`."""
        where, arguments = _where(view, wanted)
        names = [name for name in ("event_type", "severity", "source", "actor_type") if name in by]
        if bucket is not None:
            arguments.append(bucket)
            names.append("bucket")
        told = ", ".join(
            f"date_bin(${len(arguments)}, at, '2000-01-03+00') AS bucket" if name == "bucket" else name
            for name in names
        )
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT {told}, count(*) AS count FROM event_stream WHERE {where} "  # noqa: S608  constants
                f"GROUP BY {', '.join(names)} ORDER BY {'bucket, ' if bucket else ''}count DESC LIMIT 5000",
                *arguments,
            )
        return [dict(row) for row in rows]

    async def replay(self, view: View, device: UUID, start: datetime, end: datetime) -> Replayed:
        """Go through what happened to a device after `start`, up to `end`. Raises PeriodInvalid, OutOfScope."""
        check_period(start, end)
        view.scope.require(device)
        with database_errors():
            before = await self._newest(device, start)
            events = await self._between(device, start, end)
        is_cut = len(events) > MOST_REPLAYED
        events = events[:MOST_REPLAYED]
        return Replayed(events, replay(before, events), is_cut)

    async def snapshot(self, view: View, device: UUID, at: datetime) -> DeviceState:
        """Return the state of a device at a time. Raises PeriodInvalid, OutOfScope."""
        check_period(at, at)
        view.scope.require(device)
        with database_errors():
            return replay(await self._newest(device, at), ())

    async def compare(
        self, view: View, device: UUID, one: datetime, other: datetime
    ) -> tuple[DeviceState, DeviceState, list[Change]]:
        """Return the states at two times and what differs. Raises PeriodInvalid, OutOfScope."""
        check_period(one, other)
        first = await self.snapshot(view, device, one)
        second = await self.snapshot(view, device, other)
        with database_errors():
            between = await self._between(device, one, other)
        return first, second, compare(first, second, between)

    async def _newest(self, device: UUID, at: datetime) -> list[Happened]:
        """Return the newest event of each kind that tells a state."""
        rows = await self._pool.fetch(
            f"SELECT e.* FROM unnest($3::text[]) kind CROSS JOIN LATERAL (SELECT id, event_id, at, event_type, "  # noqa: S608  constant
            f"data::text AS data, {_WHOLE} FROM events WHERE device_uuid = $1 AND event_type = kind AND at <= $2 "
            "ORDER BY at DESC, id DESC LIMIT 1) e ORDER BY e.at, e.id",
            device,
            at,
            list(PARTS),
        )
        return [_happened(row) for row in rows]

    async def _between(self, device: UUID, start: datetime, end: datetime) -> list[Happened]:
        rows = await self._pool.fetch(
            f"SELECT id, event_id, at, event_type, data::text AS data, {_WHOLE} FROM event_stream "  # noqa: S608  constant
            f"WHERE device_uuid = $1 AND at > $2 AND at <= $3 ORDER BY at, id LIMIT {MOST_REPLAYED + 1}",
            device,
            start,
            end,
        )
        return [_happened(row) for row in rows]


def check_period(start: datetime, end: datetime) -> None:
    """Raise PeriodInvalid for times without zone, in the wrong order, or too far apart."""
    if start.tzinfo is None or end.tzinfo is None:
        raise PeriodInvalid("a time needs a zone: 2026-11-21T10:00:00Z")
    if end < start:
        raise PeriodInvalid("the period ends before it begins")
    if end - start > _LONGEST:
        raise PeriodInvalid(f"the period is longer than {_LONGEST.days} days")


def _where(view: View, wanted: Wanted) -> tuple[str, list[Any]]:
    """Return the conditions, made of constants, and their arguments."""
    visible = view.scope.parameter()
    given: list[tuple[str, object]] = [
        ("device_uuid = ANY(${})", visible),
        ("device_uuid = ${}", wanted.device),
        ("event_type = ANY(${})", list(wanted.kinds) or None),
        ("aggregate_type = ANY(${})", list(wanted.aggregates) or None),
        ("at >= ${}", wanted.start),
        ("at <= ${}", wanted.end),
        ("severity = ${}", wanted.severity),
        ("actor_type = ${}", wanted.actor_type),
        ("actor_id = ${}", wanted.actor_id),
        ("correlation_id = ${}", wanted.correlation_id),
        ("id > ${}", wanted.after_id),
        ("source = ${}", wanted.source),
    ]
    used = [(clause, value) for clause, value in given if value is not None]
    clauses = [clause.format(number) for number, (clause, _) in enumerate(used, start=1)]
    if not view.sees_audit:
        clauses.append("device_uuid IS NOT NULL")
    return " AND ".join(clauses) or "true", [value for _, value in used]


def _shown(row: Any, view: View) -> dict[str, Any]:
    shown = dict(row)
    shown["data"] = json.loads(row["data"])
    metadata = json.loads(row["metadata"])
    if not view.sees_audit:
        metadata = {
            name: value for name, value in metadata.items() if name not in ("ip_address", "user_agent")
        }
    shown["metadata"] = metadata
    return shown


def _happened(row: Any) -> Happened:
    return Happened(
        id=row["id"],
        event_id=str(row["event_id"]),
        at=row["at"],
        kind=row["event_type"],
        data=json.loads(row["data"]),
        is_whole=row["is_whole"],
    )
