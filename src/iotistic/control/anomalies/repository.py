"""Rows of anomalies. What is told again changes nothing; what was told of one before counts until there is more."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.anomalies.model import Anomaly, Database, Origin, Told, VerdictState
from iotistic.detection.feedback import Verdict

_TOLD = (
    "name, fingerprint, source, metric, unit, severity, method, trend, value, expected_low, expected_high, baseline, "
    "deviation, confidence, recent, samples, count, first_at, last_at, is_restamped, is_simulated, verdict, "
    "series_device_id, series_datapoint_id"
)
_AS = (
    "device_uuid uuid, name text, fingerprint text, source text, metric text, unit text, severity text, method text, "
    "trend text, value float8, expected_low float8, expected_high float8, baseline float8, deviation float8, "
    "confidence float8, recent float8[], samples bigint, count bigint, first_at timestamptz, last_at timestamptz, "
    "is_restamped boolean, is_simulated boolean, verdict text, series_device_id integer, series_datapoint_id integer"
)
# $1 rows, $2 origin, $3 now. The watch that reads again after a crash may begin an anomaly a little later than it
# did before, if readings came late in between: one that lies within another of the same matter is that one.
# In order, so that two reports that name the same anomalies wait for each other and never in a circle.
_PUT = f"""
INSERT INTO anomalies AS a (device_uuid, origin, {_TOLD}, judged_at, judged_by, verdict_state, received_at, heard_at)
SELECT n.device_uuid, $2, {_TOLD}, CASE WHEN n.verdict IS NOT NULL THEN $3::timestamptz END,
       CASE WHEN n.verdict IS NOT NULL THEN 'device' END, CASE WHEN n.verdict IS NOT NULL THEN 'learned' END, $3, $3
FROM jsonb_to_recordset($1::text::jsonb) AS n ({_AS})
WHERE $2 <> 'stream' OR NOT EXISTS (
    SELECT FROM anomalies o WHERE o.device_uuid = n.device_uuid AND o.fingerprint = n.fingerprint AND o.name <> n.name
      AND o.first_at BETWEEN n.first_at - interval '2 hours' AND n.first_at AND o.last_at >= n.first_at)
ORDER BY n.device_uuid, n.name
ON CONFLICT (device_uuid, name) DO UPDATE SET
    severity = EXCLUDED.severity, method = EXCLUDED.method, trend = EXCLUDED.trend, value = EXCLUDED.value,
    expected_low = EXCLUDED.expected_low, expected_high = EXCLUDED.expected_high, baseline = EXCLUDED.baseline,
    deviation = EXCLUDED.deviation, confidence = EXCLUDED.confidence, samples = EXCLUDED.samples,
    recent = CASE WHEN cardinality(EXCLUDED.recent) > 0 THEN EXCLUDED.recent ELSE a.recent END,
    count = EXCLUDED.count,
    first_at = least(a.first_at, CASE WHEN EXCLUDED.is_restamped THEN a.first_at ELSE EXCLUDED.first_at END),
    last_at = greatest(a.last_at, EXCLUDED.last_at), heard_at = EXCLUDED.heard_at,
    verdict = CASE WHEN EXCLUDED.verdict IS NOT NULL AND coalesce(a.verdict_state, 'learned') = 'learned'
                   THEN EXCLUDED.verdict ELSE a.verdict END,
    judged_at = CASE WHEN EXCLUDED.verdict IS NOT NULL AND coalesce(a.verdict_state, 'learned') = 'learned'
                      AND a.verdict IS DISTINCT FROM EXCLUDED.verdict THEN EXCLUDED.judged_at ELSE a.judged_at END,
    judged_by = CASE WHEN EXCLUDED.verdict IS NOT NULL AND coalesce(a.verdict_state, 'learned') = 'learned'
                      AND a.verdict IS DISTINCT FROM EXCLUDED.verdict THEN EXCLUDED.judged_by ELSE a.judged_by END,
    verdict_state = CASE WHEN EXCLUDED.verdict IS NOT NULL
                          AND (coalesce(a.verdict_state, 'learned') = 'learned' OR a.verdict = EXCLUDED.verdict)
                         THEN 'learned' ELSE a.verdict_state END
WHERE EXCLUDED.count >= a.count AND (
    (EXCLUDED.count, EXCLUDED.severity, EXCLUDED.value) IS DISTINCT FROM (a.count, a.severity, a.value)
    OR EXCLUDED.last_at > a.last_at
    OR (EXCLUDED.verdict IS NOT NULL AND (EXCLUDED.verdict <> coalesce(a.verdict, '') OR a.verdict_state <> 'learned')))
RETURNING (xmax = 0) AS is_new
"""  # noqa: S608  constants
_ANOMALY = (
    "a.id, a.device_uuid, coalesce(f.name, d.devicename, '') AS device_name, a.origin, "
    + ", ".join(f"a.{name}" for name in _TOLD.split(", "))
    + ", a.judged_at, a.judged_by, a.verdict_state, a.received_at, a.heard_at"
)
_FROM = (
    "anomalies a LEFT JOIN fleet_devices f ON f.uuid = a.device_uuid LEFT JOIN devices d ON d.uuid = a.device_uuid "
    "WHERE ($1::uuid[] IS NULL OR a.device_uuid = ANY($1))"
)
_LEAST_JUDGED = timedelta(days=150)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which anomalies are meant; None is all. `unjudged` are those of which nobody has said anything."""

    device_uuid: UUID | None = None
    fleet: str | None = None
    metric: str | None = None
    severities: Sequence[str] | None = None
    origin: Origin | None = None
    verdict: Verdict | None = None
    unjudged: bool = False
    since: datetime | None = None
    until: datetime | None = None


async def put(
    db: Database, origin: Origin, told: Iterable[tuple[UUID, Told]], now: datetime
) -> tuple[int, int]:
    """Keep what is told of devices; return how many anomalies are new, and of how many there is something new."""
    rows = {(uuid, one.name): asdict(one) | {"device_uuid": str(uuid)} for uuid, one in told}
    if not rows:
        return 0, 0
    text = json.dumps(list(rows.values()), default=datetime.isoformat, allow_nan=False)
    changed = await db.fetch(_PUT, text, origin.value, now)
    new = sum(row["is_new"] for row in changed)
    return new, len(changed) - new


async def list_page(
    db: Database,
    scope: list[UUID] | None,
    wanted: Wanted,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Anomaly]:
    """Return anomalies, those that began last first, before (first_at, id)."""
    at, last = before or (None, None)
    rows = await db.fetch(
        f"SELECT {_ANOMALY} FROM {_FROM} AND ($2::uuid IS NULL OR a.device_uuid = $2) "  # noqa: S608  constant
        "AND ($3::text IS NULL OR f.fleet_id = $3) AND ($4::text IS NULL OR a.metric = $4) "
        "AND ($5::text[] IS NULL OR a.severity = ANY($5)) AND ($6::text IS NULL OR a.origin = $6) "
        "AND ($7::text IS NULL OR a.verdict = $7) AND (NOT $8 OR a.verdict IS NULL) "
        "AND ($9::timestamptz IS NULL OR a.first_at >= $9) AND ($10::timestamptz IS NULL OR a.first_at < $10) "
        "AND ($11::timestamptz IS NULL OR (a.first_at, a.id) < ($11, $12::uuid)) "
        "ORDER BY a.first_at DESC, a.id DESC LIMIT $13",
        scope,
        wanted.device_uuid,
        wanted.fleet,
        wanted.metric,
        None if wanted.severities is None else list(wanted.severities),
        wanted.origin and wanted.origin.value,
        wanted.verdict and wanted.verdict.value,
        wanted.unjudged,
        wanted.since,
        wanted.until,
        at,
        last,
        limit,
    )
    return [_anomaly(row) for row in rows]


async def find(db: Database, scope: list[UUID] | None, anomaly_id: UUID) -> Anomaly | None:
    """Return one."""
    row = await db.fetchrow(f"SELECT {_ANOMALY} FROM {_FROM} AND a.id = $2", scope, anomaly_id)  # noqa: S608  constant
    return _anomaly(row) if row else None


async def judge(
    db: Database, scope: list[UUID] | None, anomaly_id: UUID, verdict: Verdict, now: datetime, by: str
) -> bool:
    """Keep what somebody says of an anomaly; it waits to be learned. Tell whether that is something new."""
    changed = await db.fetchval(
        "UPDATE anomalies SET verdict = $3, judged_at = $4, judged_by = $5, verdict_state = $6 "
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND id = $2 AND verdict IS DISTINCT FROM $3 RETURNING 1",
        scope,
        anomaly_id,
        verdict.value,
        now,
        by,
        VerdictState.WAITING.value,
    )
    return changed is not None


async def counts(
    db: Database, scope: list[UUID] | None, device_uuid: UUID | None, since: datetime
) -> list[Any]:
    """Return counts by metric, severity, origin and verdict of those that began since a time."""
    return await db.fetch(
        "SELECT metric, severity, origin, coalesce(verdict, 'none') AS verdict, count(*) AS anomalies FROM anomalies "
        "WHERE ($1::uuid[] IS NULL OR device_uuid = ANY($1)) AND ($2::uuid IS NULL OR device_uuid = $2) "
        "AND first_at >= $3 GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT 1000",
        scope,
        device_uuid,
        since,
    )


async def unwell(
    db: Database, devices: Sequence[UUID], severities: Sequence[str], since: datetime
) -> list[Any]:
    """Return device_uuid, metric and severity of the first anomaly of each device that was told since a time."""
    return await db.fetch(
        "SELECT DISTINCT ON (device_uuid) device_uuid, metric, severity, value FROM standing_anomalies "
        "WHERE device_uuid = ANY($1) AND severity = ANY($2) AND received_at >= $3 AND last_at >= $3 "
        "ORDER BY device_uuid, received_at",
        list(devices),
        list(severities),
        since,
    )


async def forget(db: Database, before: datetime, now: datetime, most: int) -> None:
    """Drop what is too old, and what is too much of one device; what a report is being stored to goes the next time."""
    await db.execute(
        "DELETE FROM anomalies WHERE id IN (SELECT id FROM anomalies "
        "WHERE first_at < $1 AND (judged_at IS NULL OR judged_at < $2) FOR UPDATE SKIP LOCKED)",
        before,
        now - _LEAST_JUDGED,
    )
    await db.execute(
        "DELETE FROM anomalies WHERE id IN (SELECT id FROM anomalies WHERE id IN ("
        "SELECT id FROM (SELECT id, row_number() OVER "
        "(PARTITION BY device_uuid ORDER BY first_at DESC, id DESC) AS place FROM anomalies WHERE device_uuid IN "
        "(SELECT device_uuid FROM anomalies GROUP BY 1 HAVING count(*) > $1)) x WHERE place > $1) "
        "FOR UPDATE SKIP LOCKED)",
        most,
    )


def _anomaly(row: Any) -> Anomaly:
    values = dict(row)
    values["recent"] = tuple(values["recent"])
    return Anomaly(**values)
