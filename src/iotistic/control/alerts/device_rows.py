"""What devices of fleets said last, as numbers that conditions are about."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from iotistic.contracts.mac import MacInvalid, parse_mac
from iotistic.control.alerts.conditions import ReportedValue, Selection, ServiceNotRunning
from iotistic.control.alerts.model import Database

_RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Standing:
    """A device, when it was heard of last (or made known), and its report."""

    uuid: UUID
    name: str
    heard_at: datetime
    fields: Mapping[str, Any] | None


# $1 names, $2 MACs, $3 fleet, $4 uuids that have the tags. A device that was switched off is nobody's worry.
_STANDINGS = """
SELECT uuid, name, coalesce(reported_at, created_at) AS heard_at, CASE WHEN $5 THEN fields::text END AS fields
FROM device_standings
WHERE is_active AND ($1::text[] IS NULL OR uuid::text = ANY($1) OR mac = ANY($2::text[]))
  AND ($3::text IS NULL OR fleet_id = $3) AND ($4::uuid[] IS NULL OR uuid = ANY($4))
"""


async def standings(
    db: Database, selection: Selection, tagged: list[UUID] | None, *, with_reports: bool
) -> list[Standing]:
    """Return the selected devices that are active; their reports only where they are needed."""
    names = [name.lower() for name in selection.devices]
    macs = [mac for name in names if (mac := _mac(name))]
    rows = await db.fetch(_STANDINGS, names or None, macs, selection.fleet, tagged, with_reports)
    return [
        Standing(
            row["uuid"], row["name"], row["heard_at"], json.loads(row["fields"]) if row["fields"] else None
        )
        for row in rows
    ]


def measured(condition: ServiceNotRunning | ReportedValue, standing: Standing) -> float | None:
    """Return the number that a condition is about; None when the device does not say it."""
    if standing.fields is None:
        return None
    if isinstance(condition, ReportedValue):
        value = standing.fields.get(condition.field)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    states = _services(standing.fields.get("apps"))
    if condition.service is not None:
        # What is not reported does not run.
        return float(not any(state == _RUNNING for name, state in states if name == condition.service))
    return float(any(state != _RUNNING for _, state in states)) if states else None


def _services(apps: object) -> list[tuple[str, str]]:
    """Return name and state of every service in a report; what has another shape is passed over."""
    try:
        found = msgspec.convert(apps, dict[str, _App])
    except msgspec.ValidationError:
        return []
    return [
        (one.serviceName or one.name, (one.status or one.state).lower())
        for app in found.values()
        for one in app.services
    ]


class _Service(msgspec.Struct):
    serviceName: str = ""  # noqa: N815  as devices write it
    name: str = ""
    status: str = ""
    state: str = ""


class _App(msgspec.Struct):
    services: list[_Service] = []


def _mac(text: str) -> str | None:
    try:
        return parse_mac(text)
    except MacInvalid:
        return None
