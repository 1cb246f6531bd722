"""What a person is told: from scores to an event with its reasons."""

from dataclasses import dataclass
from enum import StrEnum

from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import Detector
from iotistic.detection.gauges import LIMITS

EXPECTED_SPREADS = 3.0
"""Half width of the expected range, in ordinary spreads."""


class Method(StrEnum):
    """The measures by name; the strongest one names the event."""

    ZSCORE = "zscore"
    MAD = "mad"
    IQR = "iqr"
    RATE_CHANGE = "rate_change"
    FORECAST = "lstm_forecast"


class Severity(StrEnum):
    """How far above the threshold."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Trend(StrEnum):
    """Where the stream has been going."""

    RISING = "rising"
    FALLING = "falling"
    STEADY = "steady"


GAUGES = (
    (Method.ZSCORE, "z"),
    (Method.MAD, "mad"),
    (Method.IQR, "iqr"),
    (Method.RATE_CHANGE, "rate"),
    (Method.FORECAST, "error"),
)
WARNING_FROM, CRITICAL_FROM = 2.0, 5.0
"""Alert score in thresholds."""
LEAST_CONFIDENCE = 0.7
TREND_FROM = 0.5
"""A quick mean this many ordinary spreads off the level is a trend."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores from which on something is said: `alert` opens an event, `raw` says that it lasts."""

    alert: float
    raw: float


@dataclass(frozen=True, slots=True)
class Event:
    """One anomaly. `deviation` is in the unit of `method`; the range and the baseline in that of the metric."""

    metric: str
    at: float
    value: float
    method: Method
    severity: Severity
    confidence: float
    deviation: float
    expected_low: float
    expected_high: float
    baseline: float
    trend: Trend
    score: float


class Watch:
    """A metric under watch: a detector with thresholds, that tells events."""

    def __init__(self, metric: str, thresholds: Thresholds, constants: Constants = DEFAULTS) -> None:
        self.metric = metric
        self.thresholds = thresholds
        self.detector = Detector(constants)
        self.lasting = False

    @property
    def learning(self) -> bool:
        """Whether the warm-up is still going on."""
        return self.detector.learning

    def update(self, t: float, value: float, forecast: float | None = None) -> Event | None:
        """Take one sample in; return the event that it opens."""
        spread = self.detector.gauges.spread
        score, raw = self.detector.update(t, value, forecast)
        self.lasting = raw >= self.thresholds.raw
        if score < self.thresholds.alert:
            return None
        return describe(self.metric, t, self.detector, score / self.thresholds.alert, spread)


def describe(metric: str, t: float, detector: Detector, times: float, spread: float) -> Event:
    """Describe the last sample of a detector, whose score was `times` the threshold (at least 1).

    `spread` is the ordinary one from before that sample.
    """
    method, deviation = strongest(detector)
    baseline = detector.expected
    return Event(
        metric=metric,
        at=t,
        value=detector.value,
        method=method,
        severity=_severity(times),
        confidence=1.0 - (1.0 - LEAST_CONFIDENCE) / times,
        deviation=deviation,
        expected_low=baseline - EXPECTED_SPREADS * spread,
        expected_high=baseline + EXPECTED_SPREADS * spread,
        baseline=baseline,
        trend=_trend(detector, spread),
        score=times,
    )


def strongest(detector: Detector) -> tuple[Method, float]:
    """Return the measure that the last sample exceeds most, in shares of its limit, and the deviation."""
    measures = [(method, float(getattr(detector.gauges, name)), LIMITS[name]) for method, name in GAUGES]
    method, deviation, _ = max(measures, key=lambda one: one[1] / one[2])
    return method, deviation


def _severity(times: float) -> Severity:
    if times >= CRITICAL_FROM:
        return Severity.CRITICAL
    return Severity.WARNING if times >= WARNING_FROM else Severity.INFO


def _trend(detector: Detector, spread: float) -> Trend:
    off = detector.quick - detector.level
    if abs(off) <= TREND_FROM * spread:
        return Trend.STEADY
    return Trend.RISING if off > 0.0 else Trend.FALLING
