"""What is known of many devices, read in three statements whatever their number."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.rollouts.durations import Durations, Sample, learn
from iotistic.control.rollouts.health import Told, read_samples
from iotistic.control.rollouts.rebuilding import HostFacts, read_apps
from iotistic.control.rollouts.spread import Spread, spread_of, total
from iotistic.control.states.repository import REPORTED_VERSION

REPORT = (
    f"s.reported_at, {REPORTED_VERSION} AS version, s.fields->'apps' AS apps, s.fields->'update' AS update, "
    "s.fields->'facts' AS facts"
)
_DEVICES = (
    "SELECT d.uuid, d.name, d.is_active, t.version AS in_force, t.etag, (t.draft IS NOT NULL) AS drafted, "  # noqa: S608  constant
    "h.etag AS was_etag, p.rollout_id AS active_in, "
    "s.fields->'storage_total' AS disk_total, s.fields->'storage_usage' AS disk_used, "
    f"{REPORT} FROM fleet_devices d "
    "LEFT JOIN device_targets t ON t.device_uuid = d.uuid "
    "LEFT JOIN device_states s ON s.device_uuid = d.uuid "
    f"LEFT JOIN device_target_history h ON h.device_uuid = d.uuid AND h.version = {REPORTED_VERSION} "
    "LEFT JOIN rollout_parts p ON p.device_uuid = d.uuid "
    "AND p.state IN ('waiting', 'updating', 'watching', 'rolling_back') "
    "WHERE d.uuid = ANY($1::uuid[]) ORDER BY d.uuid"
)
# The content by its mark: devices with the same target share it.
_DOCUMENTS = (
    "SELECT DISTINCT ON (etag) etag, document FROM ("
    "SELECT etag, document FROM device_targets WHERE device_uuid = ANY($1::uuid[]) AND etag = ANY($2::text[]) "
    "UNION ALL "
    "SELECT etag, document FROM device_target_history WHERE device_uuid = ANY($1::uuid[]) AND etag = ANY($2::text[])"
    ") AS documents ORDER BY etag"
)
_STEP_TIMES = "SELECT step, topic, seconds FROM rollout_step_times"
# What a device's own steps took in its newest updates.
_OWN_TIMES = (
    "SELECT device_uuid, actual->'seconds' AS seconds FROM (SELECT device_uuid, actual, "
    "row_number() OVER (PARTITION BY device_uuid ORDER BY started_at DESC) AS age FROM rollout_parts "
    "WHERE device_uuid = ANY($1::uuid[]) AND jsonb_array_length(actual->'seconds') > 0) AS newest WHERE age <= $2"
)
# How good predictions were lately.
_OUTCOMES = (
    "SELECT p.predicted->'downtimeS' AS predicted, p.actual->'downtimeS' AS actual FROM ("
    "SELECT id FROM rollouts ORDER BY created_at DESC, id DESC LIMIT $1) AS r JOIN LATERAL ("
    "SELECT predicted, actual FROM rollout_parts WHERE rollout_id = r.id AND state = 'succeeded' "
    "AND predicted->'learned' = 'true' AND actual->'complete' = 'true' LIMIT $2) AS p ON true"
)
_OWN_UPDATES = 4
_OUTCOME_ROLLOUTS, _OUTCOMES_EACH = 10, 200


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownDevice:
    """One device, before a rollout."""

    uuid: UUID
    name: str
    is_active: bool
    in_force: int | None
    etag: str | None
    drafted: bool
    was_etag: str | None
    """The target that its report is about."""
    active_in: UUID | None
    told: Told
    host: HostFacts
    disk_free: int | None
    took: tuple[Sample, ...] = ()
    """What its own steps took in its newest updates."""


@dataclass(frozen=True, slots=True)
class Known:
    """Devices and the targets that they have, by etag."""

    devices: tuple[KnownDevice, ...]
    contents: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


async def read_devices(db: Database, uuids: Sequence[UUID]) -> Known:
    """Return what is known of devices."""
    rows, took = await db.fetch(_DEVICES, list(uuids)), await own_times(db, uuids)
    devices = tuple(_device(row, took) for row in rows)
    etags = {etag for one in devices for etag in (one.etag, one.was_etag) if etag is not None}
    documents = await db.fetch(_DOCUMENTS, list(uuids), sorted(etags))
    return Known(devices, {row["etag"]: content_of(row["document"]) for row in documents})


async def own_times(db: Database, uuids: Sequence[UUID]) -> dict[UUID, list[Sample]]:
    """Return what devices' own steps took in their newest updates."""
    took: dict[UUID, list[Sample]] = {}
    for row in await db.fetch(_OWN_TIMES, list(uuids), _OWN_UPDATES):
        took.setdefault(row["device_uuid"], []).extend(read_samples(_json(row["seconds"])))
    return took


async def read_durations(db: Database, sizes: Mapping[str, int]) -> Durations:
    """Return how long steps take, as far as devices have told."""
    rows = await db.fetch(_STEP_TIMES)
    told = [Sample(row["step"], row["topic"], seconds) for row in rows for seconds in row["seconds"]]
    return Durations(learn(told), sizes)


async def read_spread(db: Database) -> Spread | None:
    """Return how far downtimes were from what was predicted lately, None while too few are known."""
    rows = await db.fetch(_OUTCOMES, _OUTCOME_ROLLOUTS, _OUTCOMES_EACH)
    return spread_of((total(_json(row["predicted"])), total(_json(row["actual"]))) for row in rows)


def content_of(document: str) -> dict[str, Any]:
    """Return {apps, config, options?} of a target as devices get it."""
    read = cast("dict[str, Any]", json.loads(document))
    return {name: read[name] for name in ("apps", "config", "options") if name in read}


def told_of(row: Mapping[str, Any]) -> Told:
    """Return what a device told, from a row with `REPORT`."""
    update = _json(row["update"])
    return Told(
        version=row["version"],
        reported_at=row["reported_at"],
        services=read_apps(_json(row["apps"])),
        update=cast("dict[str, Any]", update) if isinstance(update, dict) else {},
    )


def _device(row: Mapping[str, Any], took: Mapping[UUID, list[Sample]]) -> KnownDevice:
    same = ("uuid", "name", "is_active", "in_force", "etag", "drafted", "was_etag", "active_in")
    told = told_of(row)
    return KnownDevice(
        **{name: row[name] for name in same},
        told=told,
        # An update that was no part of a rollout teaches too, as long as it is the newest.
        took=tuple(took.get(row["uuid"]) or read_samples(told.update.get("seconds"))),
        host=HostFacts.read(_json(row["facts"])),
        disk_free=_free((row["disk_total"], row["disk_used"])),
    )


def _free(told: Iterable[str | None]) -> int | None:
    total, used = map(_json, told)
    if isinstance(total, int | float) and isinstance(used, int | float):
        return max(int(total - used), 0)
    return None


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
