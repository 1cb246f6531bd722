"""Figures of storage maintenance for Prometheus; names are stable."""

from prometheus_client import Counter, Gauge, Histogram

LAG = Gauge(
    "iotistic_rollup_lag_seconds",
    "Age of the first instant that is not rolled yet; about 65 when all is well for minutes",
    ["level"],
)
PENDING = Gauge("iotistic_rollup_pending", "Markers of buckets to be rolled", ["kind"])
MARKERS_DISCARDED = Counter(
    "iotistic_rollup_markers_discarded_total",
    "Markers of late rows in days that retention dropped",
    ["level"],
)
LATE_MERGED = Counter(
    "iotistic_late_readings_merged_total", "Late readings merged into days that are compressed"
)
ROLL_SECONDS = Histogram(
    "iotistic_rollup_round_seconds",
    "Duration of one transaction of the roller",
    ["level"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
PARTITIONS_MADE = Counter("iotistic_partitions_made_total", "Partitions made ahead of time")
PARTITIONS_DROPPED = Counter(
    "iotistic_partitions_dropped_total", "Partitions dropped by retention", ["table"]
)
PARTITIONS_POSTPONED = Counter(
    "iotistic_partitions_postponed_total",
    "Drops given up because of long readers; tried again later",
    ["table"],
)
DEAD_LETTERS_DELETED = Counter("iotistic_dead_letters_expired_total", "Dead letters deleted by retention")
HOUSEKEEPING_SECONDS = Histogram(
    "iotistic_housekeeping_seconds",
    "Duration of one housekeeping: partitions, retention, statistics",
    buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
FAILURES = Counter("iotistic_maintenance_failures_total", "Rounds that failed, by the error's code", ["code"])
