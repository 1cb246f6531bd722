"""Figures of the use of Redis; names are stable."""

from prometheus_client import Counter, Gauge

READY = Gauge("iotistic_redis_ready", "1 while Redis answers and is used")
FAILURES = Counter(
    "iotistic_redis_failures_total", "Times that Redis failed or was too slow and was left alone", ["what"]
)
