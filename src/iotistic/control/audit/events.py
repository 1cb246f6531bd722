"""Writes what happens to devices: which target is in force, which state a device reports.

An event holds the whole state that it leads to, beside the names of what changed: the state at a time is then one
look-up. Figures of the machine (CPU, memory, temperature) are no state; a report of them alone costs nothing here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from iotistic.control.audit.origin import current_request
from iotistic.control.audit.port import Database, Severity
from iotistic.control.audit.redaction import clean
from iotistic.control.audit.trail import split_actor

TARGET_UPDATED, STATE_UPDATED = "target_state.updated", "current_state.updated"
ONLINE, OFFLINE = "device.online", "device.offline"

FOLLOWED = ("apps", "config", "version", "is_online", "os_version", "agent_version", "local_ip")
"""Fields of a report that make a device's state."""

_UNCHANGED = (
    "SELECT q.place, NOT EXISTS (SELECT FROM jsonb_each(q.fields::jsonb) said "
    "WHERE s.fields -> said.key IS DISTINCT FROM said.value) AS is_unchanged "
    "FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY q (uuid, fields, place) "
    "JOIN device_states s ON s.device_uuid = q.uuid ORDER BY s.device_uuid FOR NO KEY UPDATE OF s"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened; `data` is cleaned of secrets when it is written."""

    kind: str
    at: datetime
    data: Mapping[str, Any]
    device: str | None = None
    by: str = "service"
    aggregate: tuple[str, str] | None = None
    severity: Severity = Severity.INFO
    source: str = "cloud"
    causation_id: UUID | None = None


class EventLog:
    """The events that are kept; see port.Events."""

    async def publish(self, db: Database, event: Event) -> None:
        """Write an event in the caller's transaction."""
        actor_type, actor_id = split_actor(event.by)
        kind, subject = event.aggregate or ("device", event.device or "")
        await db.execute(
            "INSERT INTO events (at, event_type, aggregate_type, aggregate_id, device_uuid, data, correlation_id, "
            "causation_id, source, actor_type, actor_id, severity, checksum) VALUES ($1, $2, $3, $4, $5::text::uuid, "
            "$6::text::jsonb, $7, $8, $9, $10, $11, $12, encode(sha256(convert_to($6::text::jsonb::text, 'UTF8')), 'hex'))",
            event.at,
            event.kind,
            kind,
            subject,
            event.device,
            json.dumps(clean(dict(event.data))),
            current_request(),
            event.causation_id,
            event.source,
            actor_type,
            actor_id,
            event.severity,
        )

    async def target_changed(
        self, db: Database, uuid: str, document: Mapping[str, Any], *, by: str, at: datetime
    ) -> None:
        """Note that a target is in force."""
        state = {
            name: document[name] for name in ("apps", "config", "options", "version") if name in document
        }
        await self.publish(db, Event(kind=TARGET_UPDATED, at=at, device=uuid, by=by, data={"state": state}))

    async def reported(self, db: Database, uuid: str, fields: Mapping[str, Any], *, at: datetime) -> None:
        """Note the state that a report leads to, if it is another; reads it before it is merged, under its lock."""
        before = await _followed(db, uuid)
        after = before | {name: fields[name] for name in FOLLOWED if name in fields}
        changed = sorted(name for name in after if name not in before or before[name] != after[name])
        if changed:
            data = {"state": after, "changed": changed}
            await self.publish(
                db,
                Event(
                    kind=STATE_UPDATED, at=at, device=uuid, by=f"device:{uuid}", data=data, source="device"
                ),
            )

    def follows(self, fields: Mapping[str, Any]) -> bool:
        """Say whether a report with these fields may change the state."""
        return any(name in fields for name in FOLLOWED)

    async def changing(self, db: Database, reports: Sequence[tuple[str, Mapping[str, Any]]]) -> Sequence[int]:
        """Return the places of those reports that change the state; the rows of the others are locked."""
        followed = [
            json.dumps({name: fields[name] for name in FOLLOWED if name in fields}) for _, fields in reports
        ]
        rows = await db.fetch(_UNCHANGED, [uuid for uuid, _ in reports], followed)
        unchanged = {row["place"] - 1 for row in rows if row["is_unchanged"]}
        return [place for place, text in enumerate(followed) if text != "{}" and place not in unchanged]


async def _followed(db: Database, uuid: str) -> dict[str, Any]:
    """Return the state as it was reported so far; nobody else reports until our transaction ends."""
    text = await db.fetchval(
        "SELECT (SELECT jsonb_object_agg(key, value) FROM jsonb_each(fields) WHERE key = ANY($2::text[]))::text "
        "FROM device_states WHERE device_uuid = $1::text::uuid FOR UPDATE",
        uuid,
        list(FOLLOWED),
    )
    return cast("dict[str, Any]", json.loads(text)) if text else {}
