"""The roller's SQL. Both levels use the same two statements, filled in for their tables.

Every statement reads one partition by its primary key: the series of that partition come from a loose
index scan (one probe per series), then one probe reads a series' stretch in time order. The scan goes
backwards because a series' newest entry stands on an index page that the sink keeps in memory, and its
oldest one does not.
"""

from dataclasses import dataclass
from datetime import timedelta

# What a transaction of the roller runs under. Plans are made for the values at hand, so that one
# partition is planned and not hundreds; a table that was never analysed must not be read whole.
SESSION = """
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off;
"""

# The lock that makes one roller work at a time, and where it stands.
LOCK_STATE = """
SELECT rolled_until, hours_rolled_until, raw_kept_from, minutes_kept_from
FROM rollup_state FOR UPDATE SKIP LOCKED
"""

# Take the oldest fresh minutes that closed before $1, with all their markers. A minute that was rolled
# already ($2) waits until its stragglers are over ($3), or each of them would roll all series again.
TAKE_FRESH = """
WITH due AS MATERIALIZED (
    SELECT DISTINCT minute FROM rollup_pending
    WHERE device_id IS NULL AND minute <= $1 AND (minute >= $2 OR minute <= $3)
    ORDER BY minute LIMIT $4
), taken AS (
    DELETE FROM rollup_pending p USING due WHERE p.device_id IS NULL AND p.minute = due.minute
)
SELECT minute AS bucket, NULL::integer AS device_id FROM due
"""

# Take the oldest late pairs with all their markers.
TAKE_LATE = """
WITH due AS MATERIALIZED (
    SELECT DISTINCT minute, device_id FROM rollup_pending
    WHERE device_id IS NOT NULL
    ORDER BY minute, device_id LIMIT $1
), taken AS (
    DELETE FROM rollup_pending p USING due
    WHERE p.device_id IS NOT NULL AND p.minute = due.minute AND p.device_id = due.device_id
)
SELECT minute AS bucket, device_id FROM due
"""

# Take the oldest hours that start no later than $1.
TAKE_HOURS = """
DELETE FROM rollup_pending_hours WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM rollup_pending_hours WHERE hour <= $1 ORDER BY hour, device_id NULLS FIRST LIMIT $2))
RETURNING hour AS bucket, device_id
"""

# Everything before the first fresh minute that was never rolled is rolled, up to what has closed ($1).
ADVANCE_MINUTES = """
UPDATE rollup_state SET rolled_until = greatest(rolled_until, least($1, (
    SELECT min(minute) FROM rollup_pending
    WHERE device_id IS NULL AND minute >= (SELECT rolled_until FROM rollup_state))))
RETURNING rolled_until
"""

ADVANCE_HOURS = """
UPDATE rollup_state SET hours_rolled_until = greatest(
    hours_rolled_until, least($1, date_trunc('hour', rolled_until, 'UTC'), (
        SELECT min(hour) FROM rollup_pending_hours
        WHERE device_id IS NULL AND hour >= (SELECT hours_rolled_until FROM rollup_state))))
RETURNING hours_rolled_until
"""

# Recompute all series of a stretch of time, $1 up to $2, inside the partition $3 up to $4.
_ROLL_ALL = """
WITH RECURSIVE series AS (
    (SELECT device_id, datapoint_id FROM {source}
     WHERE {time} >= $3 AND {time} < $4
     ORDER BY device_id DESC, datapoint_id DESC LIMIT 1)
    UNION ALL
    SELECT earlier.* FROM series s CROSS JOIN LATERAL (
        SELECT d.device_id, d.datapoint_id FROM {source} d
        WHERE d.{time} >= $3 AND d.{time} < $4
          AND (d.device_id, d.datapoint_id) < (s.device_id, s.datapoint_id)
        ORDER BY d.device_id DESC, d.datapoint_id DESC LIMIT 1) earlier
), rolled AS (
    SELECT s.device_id, s.datapoint_id, r.*
    FROM series s CROSS JOIN LATERAL (
        {aggregate}
        WHERE d.device_id = s.device_id AND d.datapoint_id = s.datapoint_id
          AND d.{time} >= $1 AND d.{time} < $2
        GROUP BY 1) r
)
{store}
"""

# Recompute single devices: $1 device ids, $2 and $3 starts and ends, inside the partition $4 up to $5.
_ROLL_DEVICES = """
WITH RECURSIVE stretch AS (
    SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) t (device_id, start_at, end_at)
), series AS (
    SELECT device_id, 2147483647 AS datapoint_id, false AS found FROM (SELECT DISTINCT device_id FROM stretch) t
    UNION ALL
    SELECT earlier.*, true FROM series s CROSS JOIN LATERAL (
        SELECT d.device_id, d.datapoint_id FROM {source} d
        WHERE d.{time} >= $4 AND d.{time} < $5
          AND d.device_id = s.device_id AND d.datapoint_id < s.datapoint_id
        ORDER BY d.datapoint_id DESC LIMIT 1) earlier
), rolled AS (
    SELECT s.device_id, s.datapoint_id, r.*
    FROM stretch t JOIN series s ON s.device_id = t.device_id AND s.found
    CROSS JOIN LATERAL (
        {aggregate}
        WHERE d.device_id = s.device_id AND d.datapoint_id = s.datapoint_id
          AND d.{time} >= t.start_at AND d.{time} < t.end_at
          AND d.{time} >= $4 AND d.{time} < $5  -- known when planning: the other partitions stay out
        GROUP BY 1) r
)
{store}
"""

_AGGREGATE_READINGS = """
SELECT date_bin('1 minute', d."timestamp", timestamptz 'epoch') AS bucket,
       min(d.value), max(d.value), {mean} AS avg, count(*) AS count
FROM decoded_data d
"""

_AGGREGATE_MINUTES = """
SELECT date_bin('1 hour', d.bucket, timestamptz 'epoch') AS bucket,
       min(d.min), max(d.max), {mean} AS avg, sum(d.count)::bigint AS count
FROM decoded_1m d
"""

# Replace what differs, and nothing else: a repeated round writes no row.
_STORE = """
, stored AS (
    INSERT INTO {target} AS old (bucket, device_id, datapoint_id, min, max, avg, count)
    SELECT bucket, device_id, datapoint_id, min, max, avg, count FROM rolled
    ON CONFLICT (device_id, datapoint_id, bucket) DO UPDATE
        SET min = excluded.min, max = excluded.max, avg = excluded.avg, count = excluded.count
        WHERE (old.min, old.max, old.avg, old.count)
            IS DISTINCT FROM (excluded.min, excluded.max, excluded.avg, excluded.count)
    RETURNING bucket, device_id
){mark}
SELECT count(*) FROM stored
"""

# The hours above the minutes that changed are out of date from this moment on.
_MARK_HOURS = """
, marked AS (
    INSERT INTO rollup_pending_hours (hour, device_id)
    SELECT DISTINCT date_trunc('hour', s.bucket, 'UTC'), {marked_device} FROM stored s
    ON CONFLICT DO NOTHING
)
"""

# Where a sum of doubles overflows, values near the largest double are summed apart, scaled down by a power
# of two, which loses no digit; their mean is kept between minimum and maximum because its last digit could
# carry it over the largest double. (Numeric is no way out: it takes 15 digits and rounds beyond it too.)
_SCALED = "CASE WHEN abs({value}) >= 1e280 THEN {value} / 2::float8 ^ 64 ELSE 0 END"
_SAFE_MEAN = """
least(greatest(sum({scaled} * {weight}) / sum({weight}), {scaled_min}), {scaled_max}) * 2::float8 ^ 64
    + sum(CASE WHEN abs({value}) < 1e280 THEN {value} * {weight} ELSE 0 END) / sum({weight})
"""


def _fill(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


def _safe_mean(*, value: str, weight: str, lowest: str, highest: str) -> str:
    scaled, scaled_min, scaled_max = (_fill(_SCALED, value=number) for number in (value, lowest, highest))
    return _fill(
        _SAFE_MEAN, value=value, weight=weight, scaled=scaled, scaled_min=scaled_min, scaled_max=scaled_max
    )


_MEANS_OF_READINGS = (
    "sum(d.value) / count(*)",
    _safe_mean(value="d.value", weight="1", lowest="min(d.value)", highest="max(d.value)"),
)
_MEANS_OF_MINUTES = (
    "sum(d.avg * d.count) / sum(d.count)",
    _safe_mean(value="d.avg", weight="d.count", lowest="min(d.min)", highest="max(d.max)"),
)


@dataclass(frozen=True, slots=True)
class LevelStatements:
    """The statements of one level; each exists with fast means and with means that cannot overflow."""

    width: timedelta
    roll_all: tuple[str, str]
    roll_devices: tuple[str, str]


def _level(
    width: timedelta, aggregate: str, means: tuple[str, str], *, marks: bool, **names: str
) -> LevelStatements:
    def both(template: str, marked_device: str) -> tuple[str, str]:
        mark = _fill(_MARK_HOURS, marked_device=marked_device) if marks else ""
        fast, safe = (
            _fill(template, store=_STORE, mark=mark, aggregate=aggregate, mean=mean, **names)
            for mean in means
        )
        return fast, safe

    return LevelStatements(width, both(_ROLL_ALL, "NULL::integer"), both(_ROLL_DEVICES, "s.device_id"))


MINUTES = _level(
    timedelta(minutes=1), _AGGREGATE_READINGS, _MEANS_OF_READINGS,
    marks=True, source="decoded_data", time='"timestamp"', target="decoded_1m",
)  # fmt: skip
HOURS = _level(
    timedelta(hours=1), _AGGREGATE_MINUTES, _MEANS_OF_MINUTES,
    marks=False, source="decoded_1m", time="bucket", target="decoded_1h",
)  # fmt: skip
