"""Facts from the database: a few look-ups by index, whatever the number of devices and records.

Other rooms add theirs as providers: presence, rollouts, jobs. A provider that fails leaves its facts out.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

import structlog

from iotistic.control.why import records
from iotistic.control.why.facts import (
    AttemptFacts,
    CertificateFacts,
    DeviceFacts,
    Facts,
    KeyFacts,
    PresenceFacts,
    RegistrationFacts,
    ReportFacts,
    TargetFacts,
)
from iotistic.control.why.port import Database
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_ATTEMPTS = 20


class FactProvider(Protocol):
    """Another room that knows something of a device."""

    @property
    def name(self) -> str:
        """What its facts stand under in `Facts.more`."""
        ...

    async def facts(self, db: Database, uuid: str, now: datetime) -> Mapping[str, Any]:
        """Return what it knows, by one or two indexed reads; empty for nothing."""
        ...


class PresenceProvider(Protocol):
    """The room that keeps leases."""

    async def presence(self, db: Database, uuid: str, now: datetime) -> PresenceFacts | None:
        """Return whether a device is there; None when no lease of it was ever kept."""
        ...


async def gather(
    db: Database,
    uuid: str,
    now: datetime,
    *,
    silent_after: timedelta,
    presence: PresenceProvider | None = None,
    providers: Sequence[FactProvider] = (),
) -> Facts:
    """Return everything that is known of a device at this moment."""
    row = await _row(db, uuid, now)
    found = await records.recent(db, uuid, now)
    more = {provider.name: await _provided(provider, db, uuid, now) for provider in providers}
    if row and row["report_bytes"]:
        more = {"report": {"bytes": row["report_bytes"]}} | more
    if row is None or not row["is_active"]:
        more |= {"lifecycle": await _lifecycle(db, uuid)}
    return Facts(
        now=now,
        uuid=uuid,
        silent_after=silent_after,
        device=_device(row),
        keys=await _keys(db, uuid, now) if row else None,
        registration=_registration(row),
        certificate=await _certificate(db, uuid),
        target=await _target(db, uuid, row),
        report=_report(row),
        attempts=await _attempts(db, uuid),
        presence=await presence.presence(db, uuid, now) if presence else None,
        records=tuple(found),
        chained=await records.causes_of(db, found),
        more=more,
    )


async def _lifecycle(db: Database, uuid: str) -> Mapping[str, Any]:
    """Return who removed a device or switched it off, and when, by the audit trail; empty when it does not say."""
    row = await db.fetchrow(
        "SELECT event_type AS code, at, actor_type || ':' || actor_id AS by FROM audit_logs "
        "WHERE device_uuid = $1::text::uuid AND event_type IN ('device.removed', 'device.deactivated') "
        "ORDER BY id DESC LIMIT 1",
        uuid,
    )
    return dict(row) if row else {}


async def _provided(provider: FactProvider, db: Database, uuid: str, now: datetime) -> Mapping[str, Any]:
    try:
        return await provider.facts(db, uuid, now)
    except IotisticError as exc:
        log.warning("why.provider_failed", provider=provider.name, code=exc.code)
        return {}


async def _row(db: Database, uuid: str, _now: datetime) -> Any:
    """Return the device with what there is one row of."""
    return await db.fetchrow(
        "SELECT d.name, d.fleet_id, d.is_active, d.agent_version, d.created_at, r.registered_at, r.proven_at, "
        "d.provisioning_state, "
        "r.public_key <> '' AS has_public_key, s.fields::text AS fields, s.reported_at, pg_column_size(s.fields) AS report_bytes, "
        "t.version, t.document, t.etag, t.deployed_at, t.deployed_by, t.drafted_at, t.drafted_by "
        "FROM fleet_devices d LEFT JOIN device_registrations r ON r.device_uuid = d.uuid "
        "LEFT JOIN device_states s ON s.device_uuid = d.uuid LEFT JOIN device_targets t ON t.device_uuid = d.uuid "
        "WHERE d.uuid = $1::text::uuid",
        uuid,
    )


def _device(row: Any) -> DeviceFacts | None:
    if row is None:
        return None
    return DeviceFacts(
        name=row["name"],
        fleet_id=row["fleet_id"],
        is_active=row["is_active"],
        agent_version=row["agent_version"],
        created_at=row["created_at"],
        is_awaited=row["provisioning_state"] == "pending",
    )


def _registration(row: Any) -> RegistrationFacts | None:
    if row is None or row["registered_at"] is None:
        return None
    return RegistrationFacts(
        registered_at=row["registered_at"],
        proven_at=row["proven_at"],
        has_public_key=row["has_public_key"],
    )


def _report(row: Any) -> ReportFacts | None:
    if row is None or row["reported_at"] is None:
        return None
    return ReportFacts(at=row["reported_at"], fields=json.loads(row["fields"]))


async def _keys(db: Database, uuid: str, now: datetime) -> KeyFacts:
    row = await db.fetchrow(
        "SELECT count(*) AS count, count(*) FILTER (WHERE ends_at IS NULL OR ends_at > $2) AS good, "
        "max(ends_at) AS last_ended_at, max(due_at) FILTER (WHERE ends_at IS NULL) AS due "
        "FROM device_api_keys WHERE device_uuid = $1::text::uuid",
        uuid,
        now,
    )
    return KeyFacts(
        count=row["count"],
        good=row["good"],
        last_ended_at=row["last_ended_at"],
        newest_due_at=row["due"],
    )


async def _certificate(db: Database, uuid: str) -> CertificateFacts | None:
    row = await db.fetchrow(
        "SELECT not_after, revoked_at, issued_at FROM device_certificates WHERE device_uuid = $1::text::uuid "
        "ORDER BY issued_at DESC LIMIT 1",
        uuid,
    )
    return CertificateFacts(**dict(row)) if row else None


async def _attempts(db: Database, uuid: str) -> tuple[AttemptFacts, ...]:
    rows = await db.fetch(
        "SELECT at, route, outcome FROM provisioning_attempts WHERE device_uuid = $1::text::uuid "
        "ORDER BY at DESC LIMIT $2",
        uuid,
        _ATTEMPTS,
    )
    return tuple(AttemptFacts(at=row["at"], route=row["route"], outcome=row["outcome"]) for row in rows)


async def _target(db: Database, uuid: str, row: Any) -> TargetFacts | None:
    if row is None or row["version"] is None:
        return None
    document = json.loads(row["document"])
    return TargetFacts(
        version=row["version"],
        deployed_at=row["deployed_at"],
        deployed_by=row["deployed_by"],
        images=_images(document),
        draft_at=row["drafted_at"],
        draft_by=row["drafted_by"],
        same_as_version=await _older(db, uuid, row["version"], document),
    )


async def _older(db: Database, uuid: str, version: int, document: Mapping[str, Any]) -> int | None:
    """Return the version before the last with the same apps and config, of the last twenty; None for a first one."""
    rows = await db.fetch(
        "SELECT version, document FROM device_target_history WHERE device_uuid = $1::text::uuid AND version < $2 "
        "ORDER BY version DESC LIMIT 20",
        uuid,
        version,
    )
    if not document.get("apps"):
        return None
    content = (document.get("apps"), document.get("config"), document.get("options"))
    for row in rows[1:]:
        older = json.loads(row["document"])
        if (older.get("apps"), older.get("config"), older.get("options")) == content:
            return row["version"]
    return None


def _images(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the image of every service that is to run, by the service's name."""
    images: dict[str, str] = {}
    for app in cast("Mapping[str, Any]", document.get("apps") or {}).values():
        for service in cast("list[Mapping[str, Any]]", app.get("services") or []):
            config = cast("Mapping[str, Any]", service.get("config") or {})
            image = service.get("imageName") or config.get("image") or service.get("image")
            if image and service.get("state", "running") == "running":
                images[str(service.get("serviceName"))] = str(image)
    return images
