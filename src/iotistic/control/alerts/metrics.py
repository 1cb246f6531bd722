"""Figures of alerts for Prometheus, in the control process; names are stable."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from iotistic.control.alerts.conditions import Severity, Stream
from iotistic.control.alerts.model import AlertState

LOOKS = Counter("iotistic_alert_looks", "Looks at a rule", ["stream", "outcome"])
LOOK_SECONDS = Histogram(
    "iotistic_alert_look_seconds",
    "Duration of a look at one rule, from taking it to the commit",
    ["stream"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
BEHIND = Gauge(
    "iotistic_alert_behind_seconds", "Age of the first instant that some rule has not judged", ["stream"]
)
OPEN = Gauge("iotistic_alerts_open", "Alerts that are not resolved", ["state", "severity"])
DELIVERIES = Counter("iotistic_alert_deliveries", "Attempts to deliver a message", ["kind", "outcome"])
WAITING = Gauge("iotistic_alert_deliveries_waiting", "Messages that wait to be delivered")

_OPEN_STATES = [state for state in AlertState if state is not AlertState.RESOLVED]


def looked(stream: Stream, seconds: float, *, has_failed: bool) -> None:
    """Count a look at a rule."""
    LOOKS.labels(stream.value, "failed" if has_failed else "judged").inc()
    LOOK_SECONDS.labels(stream.value).observe(seconds)


def stand(alerts: Sequence[Mapping[str, Any]], behind: Sequence[Mapping[str, Any]], waiting: int) -> None:
    """Show how things stand: rows (state, severity, alerts) and (stream, behind_s); what is in no row is 0."""
    counted = {(row["state"], row["severity"]): row["alerts"] for row in alerts}
    for state, severity in product(_OPEN_STATES, Severity):
        OPEN.labels(state.value, severity.value).set(counted.get((state.value, severity.value), 0))
    ages = {row["stream"]: row["behind_s"] for row in behind}
    for stream in Stream:
        BEHIND.labels(stream.value).set(ages.get(stream.value, 0))
    WAITING.set(waiting)
