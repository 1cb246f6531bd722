"""The watch's rows: which series there are, how far each is read, what was learned of it; and reading what is stored.

Each series is read by its key from its own last reading on, so what a device sends late, but newer than all before,
is still judged in its order, and no mark of it is needed. What comes late behind that is not: a detector cannot be
set back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.anomalies.model import Database

Key = tuple[int, int]
"""Ids of device and datapoint."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

SESSION = """
SET plan_cache_mode = force_custom_plan;
SET enable_seqscan = off;
SET jit = off;
"""
"""As for alerts: partitions are chosen when a statement is planned, and none is read whole."""

# A device has an agent if it reported once, under its uuid, its MAC, or its uuid as the key of its readings.
_ELIGIBLE = """
SELECT s.device_id, s.datapoint_id FROM device_datapoints s JOIN devices d ON d.id = s.device_id
WHERE $1 OR NOT EXISTS (
    SELECT FROM device_standings f WHERE f.reported_at IS NOT NULL
      AND (f.uuid = d.uuid OR f.mac = d.macaddress OR f.uuid::text = d.externalkey))
ORDER BY 1, 2 LIMIT $2
"""

# $1, $2 ids, $3 from when, $4 until: those with a reading in between.
_ALIVE = """
SELECT w.device_id, w.datapoint_id, r.at FROM unnest($1::integer[], $2::integer[]) AS w (device_id, datapoint_id)
CROSS JOIN LATERAL (
    SELECT x."timestamp" AS at FROM decoded_data x
    WHERE x.device_id = w.device_id AND x.datapoint_id = w.datapoint_id AND x."timestamp" > $3 AND x."timestamp" <= $4
    ORDER BY x."timestamp" DESC LIMIT 1) r
"""

# $3 from where a series goes on that was watched before, $4 where one begins that is older than an hour, $5 now.
_ADMIT = """
INSERT INTO anomaly_series AS a (device_id, datapoint_id, read_until, saved_at)
SELECT s.device_id, s.datapoint_id,
       CASE WHEN s.first_seen > $5::timestamptz - interval '1 hour' THEN $5 - interval '2 hours' ELSE $4::timestamptz END,
       $5
FROM device_datapoints s JOIN unnest($1::integer[], $2::integer[]) AS w (device_id, datapoint_id)
     USING (device_id, datapoint_id)
ON CONFLICT (device_id, datapoint_id) DO UPDATE SET read_until = greatest(a.read_until, $3)
"""
_LOAD = """
SELECT a.device_id, a.datapoint_id, a.read_until, a.state, a.incidents, coalesce(f.uuid, d.uuid) AS uuid, p.label,
       coalesce(p.append, '') AS unit
FROM anomaly_series a JOIN unnest($1::integer[], $2::integer[]) AS w (device_id, datapoint_id)
     USING (device_id, datapoint_id)
JOIN devices d ON d.id = a.device_id JOIN datapoints p ON p.id = a.datapoint_id
LEFT JOIN LATERAL (
    SELECT uuid FROM device_standings f WHERE f.uuid = d.uuid OR f.mac = d.macaddress
    ORDER BY f.uuid = d.uuid DESC, f.created_at LIMIT 1) f ON true
"""
_SAVE = """
UPDATE anomaly_series a SET read_until = 'epoch'::timestamptz + n.read_us * interval '1 microsecond', state = n.state,
    incidents = n.incidents, seen = n.seen, is_learning = n.is_learning, value = n.value, baseline = n.baseline,
    saved_at = $9
FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[], $7::float8[],
            $8::float8[], $10::boolean[])
     AS n (device_id, datapoint_id, read_us, state, incidents, seen, value, baseline, is_learning)
WHERE a.device_id = n.device_id AND a.datapoint_id = n.datapoint_id
"""

# $3 each series' last reading, $4 no earlier than, $5 until, $6 how many of each at most.
_READ = """
SELECT w.place::integer - 1 AS place, r.times, r.readings
FROM unnest($1::integer[], $2::integer[], $3::bigint[]) WITH ORDINALITY
     AS w (device_id, datapoint_id, after_us, place)
CROSS JOIN LATERAL (
    SELECT array_agg(y.at ORDER BY y.at) AS times, array_agg(y.value ORDER BY y.at) AS readings FROM (
        SELECT (extract(epoch FROM x."timestamp") * 1000000)::bigint AS at, x.value FROM decoded_data x
        WHERE x.device_id = w.device_id AND x.datapoint_id = w.datapoint_id
          AND x."timestamp" > 'epoch'::timestamptz + w.after_us * interval '1 microsecond'
          AND x."timestamp" > $4 AND x."timestamp" <= $5
        ORDER BY x."timestamp" LIMIT $6) y) r
WHERE r.times IS NOT NULL
"""
_VERDICTS = """
SELECT id, series_device_id, series_datapoint_id, name, verdict, verdict_state, judged_at, value, baseline,
       expected_low, expected_high FROM anomalies
WHERE origin = 'stream' AND verdict IS NOT NULL AND judged_at >= $1 AND ($2::integer[] IS NULL
      OR (series_device_id, series_datapoint_id) IN (SELECT * FROM unnest($2::integer[], $3::integer[])))
ORDER BY judged_at
"""


@dataclass(slots=True)
class Series:
    """One series under watch."""

    key: Key
    uuid: UUID
    label: str
    unit: str
    read_us: int
    state: bytes | None = None
    incidents: bytes | None = None
    tail: list[float] = field(default_factory=list[float])
    seen: int = 0

    @property
    def name(self) -> str:
        """Its name as a stream."""
        return f"{self.key[0]}/{self.key[1]}"


@dataclass(frozen=True, slots=True)
class Saved:
    """What is kept of a series."""

    key: Key
    read_us: int
    state: bytes
    incidents: bytes
    seen: int
    value: float
    baseline: float
    is_learning: bool


@dataclass(frozen=True, slots=True)
class StreamStanding:
    """How the watch stands; `behind_s`: how much older than now what it has judged is."""

    mode: str
    looked_at: datetime | None
    watching: int
    learning: int
    unwatched: int
    readings: int
    behind_s: float


def to_us(at: datetime) -> int:
    """Return microseconds since 1970."""
    return (at - _EPOCH) // _US


def from_us(at_us: int) -> datetime:
    """Return the time."""
    return _EPOCH + at_us * _US


async def eligible(db: Database, *, all_devices: bool, most: int) -> list[Key]:
    """Return the series that may be watched."""
    rows = await db.fetch(_ELIGIBLE, all_devices, most)
    return [(row["device_id"], row["datapoint_id"]) for row in rows]


async def alive(
    db: Database, keys: Sequence[Key], after: datetime, until: datetime
) -> list[tuple[Key, datetime]]:
    """Return those with a reading in (after, until], and when the last of it was."""
    rows = await db.fetch(_ALIVE, *_columns(keys), after, until)
    return [((row["device_id"], row["datapoint_id"]), row["at"]) for row in rows]


async def admit(
    db: Database, keys: Sequence[Key], *, reach: datetime, begin: datetime, now: datetime
) -> list[Series]:
    """Return series as they were left, or from their beginning; where each begins is on disk first."""
    await db.execute(_ADMIT, *_columns(keys), reach, begin, now)
    rows = await db.fetch(_LOAD, *_columns(keys))
    return [
        Series(
            key=(row["device_id"], row["datapoint_id"]),
            uuid=row["uuid"],
            label=row["label"],
            unit=row["unit"].strip()[:32],
            read_us=to_us(row["read_until"]),
            state=row["state"],
            incidents=row["incidents"],
        )
        for row in rows
    ]


async def read(
    db: Database, series: Sequence[Series], reach: datetime, until: datetime, *, most: int
) -> list[tuple[Series, list[int], list[float]]]:
    """Return new readings of each series in their order, `most` of each at most."""
    keys = _columns([one.key for one in series])
    rows = await db.fetch(_READ, *keys, [one.read_us for one in series], reach, until, most)
    return [(series[row["place"]], row["times"], row["readings"]) for row in rows]


async def save(db: Database, saved: Sequence[Saved], now: datetime) -> None:
    """Keep what was learned of series that are admitted."""
    await db.execute(
        _SAVE,
        *_columns([one.key for one in saved]),
        [one.read_us for one in saved],
        [one.state for one in saved],
        [one.incidents for one in saved],
        [one.seen for one in saved],
        [one.value for one in saved],
        [one.baseline for one in saved],
        now,
        [one.is_learning for one in saved],
    )


async def verdicts(db: Database, since: datetime, keys: Sequence[Key] | None = None) -> list[Any]:
    """Return what was said of the watch's anomalies (of some series) since a time, the oldest first."""
    return await db.fetch(_VERDICTS, since, *(_columns(keys) if keys is not None else (None, None)))


async def learned(db: Database, ids: Sequence[UUID]) -> None:
    """Note that verdicts were taken in."""
    await db.execute(
        "WITH theirs AS (SELECT id FROM anomalies WHERE id = ANY($1) AND verdict_state = 'waiting' "
        "ORDER BY device_uuid, name FOR NO KEY UPDATE) "
        "UPDATE anomalies a SET verdict_state = 'learned' FROM theirs WHERE a.id = theirs.id",
        list(ids),
    )


async def stand(db: Database, standing: StreamStanding) -> None:
    """Write how the watch stands."""
    await db.execute(
        "UPDATE anomaly_stream SET mode = $1, looked_at = $2, watching = $3, learning = $4, unwatched = $5, "
        "readings = readings + $6, behind_s = $7",
        standing.mode,
        standing.looked_at,
        standing.watching,
        standing.learning,
        standing.unwatched,
        standing.readings,
        standing.behind_s,
    )


async def standing(db: Database) -> StreamStanding:
    """Return how the watch stands."""
    row = await db.fetchrow(
        "SELECT mode, looked_at, watching, learning, unwatched, readings, behind_s FROM anomaly_stream"
    )
    return StreamStanding(**dict(row))


async def list_series(
    db: Database,
    scope: list[UUID] | None,
    device_uuid: UUID | None,
    *,
    after: Key | None,
    limit: int,
) -> list[Any]:
    """Return watched series as they were saved last, by their ids."""
    device_id, datapoint_id = after or (None, None)
    return await db.fetch(
        "SELECT a.device_id, a.datapoint_id, d.uuid AS device_uuid, d.devicename AS device_name, p.label AS metric, "
        "a.is_learning, a.seen, a.value, a.baseline, a.read_until, a.saved_at FROM anomaly_series a "
        "JOIN devices d ON d.id = a.device_id JOIN datapoints p ON p.id = a.datapoint_id "
        "WHERE ($1::uuid[] IS NULL OR d.uuid = ANY($1)) AND ($2::uuid IS NULL OR d.uuid = $2) "
        "AND ($3::integer IS NULL OR (a.device_id, a.datapoint_id) > ($3, $4::integer)) "
        "ORDER BY a.device_id, a.datapoint_id LIMIT $5",
        scope,
        device_uuid,
        device_id,
        datapoint_id,
        limit,
    )


async def forget_series(db: Database, before: datetime) -> None:
    """Drop what was learned of series that were not saved since."""
    await db.execute("DELETE FROM anomaly_series WHERE saved_at < $1", before)


def _columns(keys: Sequence[Key]) -> tuple[list[int], list[int]]:
    return [key[0] for key in keys], [key[1] for key in keys]
