"""How a metric stands, as people see it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from iotistic.agent.anomalies.model import Anomaly, Measured, Source, iso, rounded
from iotistic.detection.constants import DEFAULTS
from iotistic.detection.events import EXPECTED_SPREADS
from iotistic.detection.feedback import Lesson
from iotistic.detection.incidents import Incident
from iotistic.detection.watches import Alert, Standing

_RECENT = 10


@dataclass(slots=True)
class Known:
    """What is known of a metric besides what its detector has learned."""

    unit: str = ""
    source: Source = Source.SYSTEM
    simulated: bool = False
    last_at: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque[float](maxlen=_RECENT))

    def take(self, measured: Measured) -> None:
        """Note a value."""
        self.unit, self.source, self.simulated = measured.unit, measured.source, measured.simulated
        self.last_at = measured.at
        self.recent.append(measured.value)

    def anomaly(self, number: int, incident: Incident, alert: Alert) -> Anomaly:
        """Return an incident with what is known around it."""
        seen = int(alert.detector.seen)
        return Anomaly(number, incident, self.source, self.unit, self.simulated, tuple(self.recent), seen)


def describe_metric(
    name: str, known: Known, standing: Standing | None, lessons: Iterable[Lesson], now: float
) -> dict[str, Any]:
    """Return a metric with its status: `learning`, `watching`, or `off` without a standing."""
    told: dict[str, Any] = {
        "metric": name,
        "source": str(known.source),
        "unit": known.unit,
        "status": "off" if standing is None else "learning" if standing.learning else "watching",
        "value": known.recent[-1] if known.recent else None,
        "lastSeen": iso(known.last_at),
    }
    if standing is not None:
        reach = EXPECTED_SPREADS * standing.spread
        told |= {
            "samples": standing.seen,
            "samplesToLearn": max(0, DEFAULTS.warm_up + 1 - standing.seen),
            "unusual": standing.lasts,
            "baseline": rounded(standing.baseline),
            "expectedRange": [rounded(standing.baseline - reach), rounded(standing.baseline + reach)],
        }
    told["feedback"] = [
        {
            "id": one.event_id,
            "verdict": str(one.verdict),
            "range": [rounded(one.low), rounded(one.high)],
            "factor": rounded(max(1.0, one.factor(now))),
            "until": iso(one.at + one.holds_for_s),
        }
        for one in lessons
    ]
    return told
