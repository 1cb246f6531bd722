"""The control group: how devices do that have not been updated yet, by the same yardstick as those that have.

That is what they report, and what others know of them (anomalies, gaps of the ledger). In the last wave nobody
waits any more, and what fails anyway would look like the release's doing; so the group is noted as each wave
begins, with that event, and the newest note with enough devices stands in for it.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from iotistic.control.devices.repository import Database
from iotistic.control.rollouts.health import is_failing_anew
from iotistic.control.rollouts.rebuilding import read_apps
from iotistic.control.rollouts.repository import Rollout
from iotistic.control.rollouts.sequential import LEAST_CONTROL, Seen
from iotistic.control.rollouts.signals import HealthSource
from iotistic.kernel.errors import IotisticError

# Those that come last are the last to be updated: they are compared with for longest.
_CONTROL = (
    "SELECT p.device_uuid, s.fields->'apps' AS apps, p.baseline, (s.reported_at > $2) AS is_news FROM ("
    "SELECT device_uuid, baseline FROM rollout_parts WHERE rollout_id = $1 AND state = 'waiting' "
    "ORDER BY wave DESC, place DESC LIMIT $3) AS p JOIN device_states s USING (device_uuid)"
)
_NOTED = (
    "SELECT facts FROM rollout_events WHERE rollout_id = $1 AND kind = 'rollout.wave_began' "
    "AND (facts->>'waiting')::int >= $2 ORDER BY id DESC LIMIT 1"
)
_COMPARED = 500


async def control_group(db: Database, rollout: Rollout, sources: Sequence[HealthSource]) -> Seen:
    """Return how those do that wait, or did when enough of them still waited."""
    found = await look_at(db, rollout, sources)
    if found.of >= LEAST_CONTROL:
        return found
    noted = await db.fetchrow(_NOTED, rollout.id, LEAST_CONTROL)
    if noted is None:
        return found
    facts = json.loads(noted["facts"])
    return Seen(facts["waiting_failed"], facts["waiting"])


async def look_at(db: Database, rollout: Rollout, sources: Sequence[HealthSource]) -> Seen:
    """Return how those do that wait."""
    rows = await db.fetch(_CONTROL, rollout.id, rollout.created_at, _COMPARED)
    failing = {
        row["device_uuid"]
        for row in rows
        if row["is_news"]
        and is_failing_anew(
            read_apps(json.loads(row["apps"] or "{}")), json.loads(row["baseline"]), rollout.policy.health
        )
    }
    found, _ = await ask(sources, [row["device_uuid"] for row in rows], rollout.created_at)
    failing |= set(found)
    return Seen(len(failing), len(rows))


async def ask(
    sources: Sequence[HealthSource], devices: Sequence[UUID], since: datetime
) -> tuple[dict[UUID, str], list[str]]:
    """Return what others know of devices, and who did not answer: their fault must not keep parts from ending."""
    found: dict[UUID, str] = {}
    silent: list[str] = []
    for source in sources:
        try:
            known = await source.unwell(devices, since)
        except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
            silent.append(f"{source.name}: {exc}")
            continue
        for device, why in known.items():
            found.setdefault(device, f"{source.name}: {why}")
    return found, silent


def note(seen: Seen) -> dict[str, int]:
    """Return facts of the event that a wave began."""
    return {"waiting": seen.of, "waiting_failed": seen.failed}
