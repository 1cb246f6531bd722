"""Reading what is judged: series of the selected devices, and what came late to them.

Every statement starts from the selection, and reads each series by its key; no index on time is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from iotistic.contracts.mac import MacInvalid, parse_mac
from iotistic.control.alerts.conditions import Selection
from iotistic.control.alerts.evaluate import Batch
from iotistic.control.alerts.model import Database, Subject

SESSION = """
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off;
"""
"""What these statements run under: one partition is planned and not hundreds, and none is read whole."""

# $1 names, $2 MACs, $3 fleet, $4 uuids that have the tags, $5 label, $6 device ids that are meant, $7 how many at most.
# Who selects a controller selects the sensors on its pins; a device of a fleet is found by uuid or MAC.
_SERIES = """
WITH chosen AS (
    SELECT d.id FROM devices d
    WHERE ($1::text[] IS NULL OR d.uuid::text = ANY($1) OR d.externalkey = ANY($1) OR d.macaddress = ANY($2::text[]))
      AND ($3::text IS NULL OR EXISTS (
            SELECT FROM device_standings f WHERE f.fleet_id = $3 AND (f.uuid = d.uuid OR f.mac = d.macaddress)))
      AND ($4::uuid[] IS NULL OR d.uuid = ANY($4) OR EXISTS (
            SELECT FROM device_standings f WHERE f.uuid = ANY($4) AND f.mac = d.macaddress))
), meant AS (
    SELECT id FROM chosen
    UNION
    SELECT p.deviceid FROM chosen c JOIN connectors k ON k.controllerid = c.id JOIN pins p ON p.connectorid = k.id
), series AS (
    SELECT s.device_id, s.datapoint_id, d.uuid, d.devicename
    FROM datapoints p
    JOIN device_datapoints s ON s.datapoint_id = p.id
    JOIN devices d ON d.id = s.device_id
    WHERE p.label = $5 AND ($6::integer[] IS NULL OR s.device_id = ANY($6)) AND s.device_id IN (SELECT id FROM meant)
    ORDER BY s.device_id, s.datapoint_id LIMIT $7
)
"""

# $8 after, $9 up to and including; $10: whether the last reading before is wanted, of the series without others too.
_READINGS = (
    _SERIES  # noqa: S608  constant
    + """
SELECT s.*, r.times, r.readings,
       CASE WHEN $10 THEN (
           SELECT (extract(epoch FROM x."timestamp") * 1000000)::bigint FROM decoded_data x
           WHERE x.device_id = s.device_id AND x.datapoint_id = s.datapoint_id AND x."timestamp" <= $8
           ORDER BY x."timestamp" DESC LIMIT 1) END AS before_us
FROM series s CROSS JOIN LATERAL (
    SELECT array_agg((extract(epoch FROM x."timestamp") * 1000000)::bigint ORDER BY x."timestamp") AS times,
           array_agg(x.value ORDER BY x."timestamp") AS readings
    FROM decoded_data x
    WHERE x.device_id = s.device_id AND x.datapoint_id = s.datapoint_id AND x."timestamp" > $8 AND x."timestamp" <= $9
) r
WHERE r.times IS NOT NULL OR $10
"""
)

_COUNT = (
    _SERIES  # noqa: S608  constant
    + """
SELECT coalesce(sum(r.readings), 0)::bigint FROM series s CROSS JOIN LATERAL (
    SELECT count(*) AS readings FROM decoded_data x
    WHERE x.device_id = s.device_id AND x.datapoint_id = s.datapoint_id AND x."timestamp" >= $8 AND x."timestamp" < $9
) r
"""
)

# Each mark goes to every rule that had begun by then; fresh minutes once no more rows of theirs are fresh.
_HAND_OUT = """
WITH taken AS (
    DELETE FROM alert_marks WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM alert_marks WHERE device_id IS NOT NULL OR minute <= $1 LIMIT $2))
    RETURNING minute, device_id
), given AS (
    INSERT INTO alert_late (rule_id, minute, device_id)
    SELECT w.rule_id, t.minute, t.device_id
    FROM (SELECT DISTINCT minute, device_id FROM taken) t
    JOIN alert_rule_work w ON t.minute + interval '1 minute' > w.started_at
    JOIN alert_rules r ON r.id = w.rule_id AND r.stream = 'telemetry'
    ORDER BY w.rule_id, t.minute, t.device_id  -- several hand out: in one order they never wait in a circle
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM taken
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection as its statements want it; `scope` narrows it to device ids of telemetry."""

    selection: Selection
    metric: str
    tagged: list[UUID] | None = None
    scope: list[int] | None = None
    most: int = 10_000_000

    def arguments(self) -> tuple[object, ...]:
        """Return $1 to $7."""
        names = list(self.selection.devices)
        macs = [mac for name in names if (mac := _mac(name))]
        lowered = [*names, *(name.lower() for name in names)]
        return (
            lowered if names else None,
            macs,
            self.selection.fleet,
            self.tagged,
            self.metric,
            self.scope,
            self.most,
        )


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one series in a span, and when the last one before it was."""

    subject: Subject
    device_id: int
    batch: Batch = field(repr=False)
    before_us: int | None = None


async def read_series(
    db: Database, chosen: Chosen, after: datetime, until: datetime, *, silent_too: bool = False
) -> list[Series]:
    """Return the series with readings after `after` up to and including `until`; the silent ones if wanted."""
    rows = await db.fetch(_READINGS, *chosen.arguments(), after, until, silent_too)
    return [_series(row, chosen.metric) for row in rows]


async def count_readings(db: Database, chosen: Chosen, start: datetime, end: datetime) -> int:
    """Return how many readings stand in [start, end)."""
    return await db.fetchval(_COUNT, *chosen.arguments(), start, end)


async def list_series(db: Database, chosen: Chosen) -> list[Any]:
    """Return device_id, datapoint_id, uuid, devicename of the selected series."""
    return await db.fetch(_SERIES + "SELECT * FROM series", *chosen.arguments())  # noqa: S608  constant


async def hand_out_marks(db: Database, settled: datetime, *, most: int) -> int:
    """Give each rule the minutes it has to look at again; return how many marks were taken."""
    return await db.fetchval(_HAND_OUT, settled, most)


async def add_readings(db: Database, rule_id: UUID, times_us: npt.NDArray[np.int64]) -> None:
    """Note readings that a rule has judged, by the minute."""
    minutes, counts = np.unique(times_us // 60_000_000, return_counts=True)
    await db.execute(
        "INSERT INTO alert_rule_minutes AS m (rule_id, minute, readings) "
        "SELECT $1, to_timestamp(t.minute * 60), t.readings FROM unnest($2::bigint[], $3::bigint[]) AS t (minute, readings) "
        "ON CONFLICT (rule_id, minute) DO UPDATE SET readings = m.readings + EXCLUDED.readings",
        rule_id,
        minutes.tolist(),
        counts.tolist(),
    )


async def set_readings(db: Database, rule_id: UUID, minute: datetime, readings: int) -> None:
    """Note how many readings of a minute a rule has judged by now."""
    await db.execute(
        "INSERT INTO alert_rule_minutes (rule_id, minute, readings) VALUES ($1, $2, $3) "
        "ON CONFLICT (rule_id, minute) DO UPDATE SET readings = EXCLUDED.readings",
        rule_id,
        minute,
        readings,
    )


async def judged_readings(db: Database, rule_id: UUID, minute: datetime) -> int:
    """Return how many readings of a minute a rule has judged."""
    found = await db.fetchval(
        "SELECT readings FROM alert_rule_minutes WHERE rule_id = $1 AND minute = $2", rule_id, minute
    )
    return found or 0


async def forget_minutes(db: Database, rule_id: UUID, before: datetime) -> None:
    """Drop old counts; a late row for such a minute is looked at without asking."""
    await db.execute("DELETE FROM alert_rule_minutes WHERE rule_id = $1 AND minute < $2", rule_id, before)


async def take_late(
    db: Database, rule_id: UUID, until: datetime, *, most: int
) -> list[tuple[datetime, int | None]]:
    """Take minutes that a rule has to look at again, once it has judged to their end."""
    rows = await db.fetch(
        "DELETE FROM alert_late WHERE ctid = ANY (ARRAY(SELECT ctid FROM alert_late "
        "WHERE rule_id = $1 AND minute <= $2 ORDER BY device_id, minute LIMIT $3)) RETURNING minute, device_id",
        rule_id,
        until - timedelta(minutes=1),
        most,
    )
    # What came hours late comes first: its alert began before that of the newest minutes.
    return sorted(
        ((row["minute"], row["device_id"]) for row in rows), key=lambda one: (one[1] is None, one[1], one[0])
    )


def concatenated(batches: Sequence[Batch]) -> npt.NDArray[np.int64]:
    """Return the times of all batches."""
    return np.concatenate([batch.times_us for batch in batches]) if batches else np.empty(0, np.int64)


def _series(row: Any, metric: str) -> Series:
    key = f"{row['device_id']}/{row['datapoint_id']}"
    batch = Batch(np.array(row["times"] or [], np.int64), np.array(row["readings"] or [], np.float64))
    return Series(
        Subject(key, row["uuid"], row["devicename"], metric), row["device_id"], batch, row["before_us"]
    )


def _mac(text: str) -> str | None:
    try:
        return parse_mac(text)
    except MacInvalid:
        return None
