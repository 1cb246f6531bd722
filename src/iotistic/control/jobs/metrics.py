"""Figures of jobs for Prometheus; names are stable.

Each process counts what it did itself: the API what devices fetch and tell over HTTP and what people cancel, the control
process the rest. How parts stand is read from the database, by the control process.
"""

from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge

from iotistic.contracts.jobs import JobStatus
from iotistic.control.jobs.arrivals import Part

OPEN = Gauge(
    "iotistic_job_parts_open", "Jobs on devices that are not over; one job on one device is one", ["status"]
)
WAITING = Gauge(
    "iotistic_job_longest_wait_seconds", "Since when the oldest job waits for its device to begin; 0 for none"
)
DELIVERED = Counter(
    "iotistic_job_deliveries", "Jobs and cancellations that devices were told, or were not", ["way"]
)
RETRIED = Counter("iotistic_job_parts_retried", "Tries that failed or were late and are followed by another")
ENDED = Counter("iotistic_job_parts_ended", "Jobs that ended on a device", ["status"])


def changed(before: Part, after: Part) -> None:
    """Count what became of a part; called once that is committed."""
    if after.attempt > before.attempt:
        RETRIED.inc()
    elif after.status.is_final and not before.status.is_final:
        ENDED.labels(after.status.value).inc()


def stand(figures: Mapping[str, Any]) -> None:
    """Show how parts stand: `queued`, `in_progress`, `waits_s`."""
    OPEN.labels(JobStatus.QUEUED.value).set(figures["queued"])
    OPEN.labels(JobStatus.IN_PROGRESS.value).set(figures["in_progress"])
    WAITING.set(figures["waits_s"])
