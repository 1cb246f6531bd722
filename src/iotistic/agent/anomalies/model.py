"""What is watched, and what is told of an anomaly."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.feedback import Verdict
from iotistic.detection.incidents import Incident
from iotistic.kernel.errors import Conflict, Invalid, NotFound

_DIGITS = 6


class AnomalyUnknown(NotFound):
    """There is no such anomaly; the oldest are forgotten."""

    code = "anomalies.unknown"


class AnomalyAmbiguous(Conflict):
    """Several anomalies begin like that."""

    code = "anomalies.ambiguous"


class DetectionOff(Conflict):
    """Nothing is watched: detection is off."""

    code = "anomalies.detection_off"


class AnomalyRequestInvalid(Invalid):
    """What was asked of the watch over readings cannot be understood."""

    code = "anomalies.request_invalid"


class Source(StrEnum):
    """Who measures."""

    SYSTEM = "system"
    SENSOR = "sensor"
    CONTAINER = "container"


class Measured(NamedTuple):
    """A value of a metric; `at` in seconds since 1970."""

    metric: str
    value: float
    at: float
    unit: str = ""
    source: Source = Source.SYSTEM
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An incident with what is known around it, under a number of this device."""

    number: int
    incident: Incident
    source: Source
    unit: str = ""
    simulated: bool = False
    recent: tuple[float, ...] = ()
    """Values up to the one that was unusual, the oldest first."""
    samples: int = 0
    """How many values had been learned from."""
    verdict: Verdict | None = None
    revision: int = 1
    """Goes up with everything that somebody who knows of it is to hear of."""
    told: int = 0
    """The revision that the cloud has acknowledged."""
    told_count: int = 0

    @property
    def id(self) -> str:
        """Its name, on this device and in the cloud."""
        return self.incident.id

    def is_untold(self, now: float, quiet_s: float) -> bool:
        """Say whether the cloud is to hear of it: it is news, or it is over and happened more often than was told."""
        over = not 0 <= now - self.incident.last_at < quiet_s
        return self.told < self.revision or (over and self.told_count != self.incident.count)

    def acknowledged(self, as_told: "Anomaly") -> "Anomaly":
        """Return it with what the cloud knows now."""
        return replace(self, told=as_told.revision, told_count=as_told.incident.count)

    def document(self) -> dict[str, Any]:
        """Return what reports and the device API say of it."""
        incident, event = self.incident, self.incident.event
        document: dict[str, Any] = {
            "id": incident.id,
            "timestamp": iso(incident.first_at),
            "lastSeen": iso(incident.last_at),
            "count": incident.count,
            "severity": str(event.severity),
            "source": str(self.source),
            "metric": event.metric,
            "value": event.value,
            "unit": self.unit,
            "expectedRange": [rounded(event.expected_low), rounded(event.expected_high)],
            "deviation": rounded(event.deviation),
            "detectionMethod": str(event.method),
            "confidence": rounded(event.confidence),
            "context": {
                "recent_values": list(self.recent),
                "baseline": rounded(event.baseline),
                "trend": str(event.trend),
                "windowSize": self.samples,
            },
            "fingerprint": incident.fingerprint,
        }
        if self.simulated:
            document["simulation"] = True
        if self.verdict is not None:
            document["feedback"] = str(self.verdict)
        return document


def write_anomaly(anomaly: Anomaly) -> dict[str, Any]:
    """Return it as JSON values, to be kept."""
    kept = asdict(anomaly)
    del kept["number"]
    return kept


def read_anomaly(number: int, kept: Mapping[str, Any]) -> Anomaly:
    """Read what `write_anomaly` wrote. Raises KeyError, TypeError and ValueError for anything else."""
    incident: dict[str, Any] = dict(kept["incident"])
    event: dict[str, Any] = dict(incident["event"])
    event["method"], event["severity"] = Method(event["method"]), Severity(event["severity"])
    event["trend"] = Trend(event["trend"])
    incident["event"] = Event(**event)
    verdict = kept["verdict"]
    return Anomaly(
        number,
        Incident(**incident),
        Source(kept["source"]),
        str(kept["unit"]),
        bool(kept["simulated"]),
        tuple(float(value) for value in kept["recent"]),
        int(kept["samples"]),
        None if verdict is None else Verdict(verdict),
        int(kept["revision"]),
        int(kept["told"]),
        int(kept["told_count"]),
    )


def iso(at: float) -> str:
    """Return a time as ISO 8601 in UTC; one that no calendar has is shown as the nearest."""
    at = min(max(at, 0.0), 253_402_300_799.0)
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rounded(value: float) -> float:
    """Return a value with as many digits as a person reads."""
    return float(f"{value:.{_DIGITS}g}")
