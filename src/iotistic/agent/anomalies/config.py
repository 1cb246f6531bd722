"""What is to be watched, and what of it is to be told: for everything, and for metrics by their names.

the cloud's for a metric > the device's for a metric > the cloud's for all > the device's for all > usual
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar, cast

from iotistic.contracts.forecasts import FIELD, ForecastWish, read_forecast
from iotistic.detection.events import Event, Method, Severity
from iotistic.detection.feedback import Verdict
from iotistic.detection.incidents import COOL_DOWN_S
from iotistic.planning.faults import Fault, Reader, shown, text, truth, whole

T = TypeVar("T")

_DAY_MS = 86_400_000
_MOST_ENTRIES = 256
_MOST_NAME = 200
_MOST_FAULTS = 20
LEAST_CONFIDENCE = 0.7
_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is told; None where nothing is said."""

    enabled: bool | None = None
    confidence: float | None = None
    cool_down_s: float | None = None
    severity: Severity | None = None
    methods: frozenset[Method] | None = None

    def over(self, other: "Rules") -> "Rules":
        """Return these, and the other's where nothing is said here."""
        return Rules(
            other.enabled if self.enabled is None else self.enabled,
            other.confidence if self.confidence is None else self.confidence,
            other.cool_down_s if self.cool_down_s is None else self.cool_down_s,
            other.severity if self.severity is None else self.severity,
            other.methods if self.methods is None else self.methods,
        )

    @property
    def is_on(self) -> bool:
        """Whether it is watched; on unless somebody said otherwise."""
        return self.enabled is not False

    def tells(self, event: Event) -> bool:
        """Say whether an event is to be told."""
        least = LEAST_CONFIDENCE if self.confidence is None else self.confidence
        severity = self.severity or Severity.INFO
        return (
            event.confidence >= least
            and _RANKS[event.severity] >= _RANKS[severity]
            and (self.methods is None or event.method in self.methods)
        )

    @property
    def cool_down(self) -> float:
        """Seconds."""
        return COOL_DOWN_S if self.cool_down_s is None else self.cool_down_s


@dataclass(frozen=True, slots=True)
class AnomalyConfig:
    """Rules for all, and for metrics whose name fits a pattern (`*`, `?`): the first that fits counts."""

    rules: Rules = Rules()
    metrics: tuple[tuple[str, Rules], ...] = ()
    feedback: tuple[tuple[str, Verdict], ...] = ()
    """What people in the cloud say of anomalies, by their ids."""
    forecaster: ForecastWish | None = None
    """What is to forecast each metric, and what its error is to count."""

    def of(self, metric: str) -> Rules:
        """Return what is said of a metric alone."""
        return next((rules for pattern, rules in self.metrics if _fits(metric, pattern)), Rules())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the watch: by the device's settings, and by the cloud on top."""

    here: AnomalyConfig = AnomalyConfig()
    cloud: AnomalyConfig = AnomalyConfig()

    @property
    def is_on(self) -> bool:
        """Whether anything is to be watched."""
        return self.cloud.rules.over(self.here.rules).is_on

    def of(self, metric: str) -> Rules:
        """Return the rules of one metric."""
        said = self.cloud.of(metric).over(self.here.of(metric))
        return said.over(self.cloud.rules).over(self.here.rules)


def read_config(reader: Reader) -> AnomalyConfig:
    """Read a configuration; what is at fault is noted, and left out."""
    rules = _read_rules(reader)
    metrics = reader.inner("metrics")
    feedback = reader.inner("feedback")
    found = AnomalyConfig(
        rules,
        () if metrics is None else read_metrics(metrics),
        () if feedback is None else tuple(_each(feedback, _verdict)),
        reader.read(FIELD, read_forecast),
    )
    reader.refuse_others({"windowSize": "is not known here: detectors keep no window"})
    return found


def read_metrics(metrics: Reader) -> tuple[tuple[str, Rules], ...]:
    """Read rules by patterns."""

    def read(name: str, value: object, faults: list[Fault]) -> Rules:
        reader = Reader(value, metrics.at(name), faults)
        rules = _read_rules(reader)
        reader.refuse_others({"windowSize": "is not known here: detectors keep no window"})
        return rules

    return tuple(_each(metrics, read))


def metric_rules(written: str) -> tuple[tuple[str, Rules], ...]:
    """Read rules by patterns from JSON; an empty text is none. Raises ValueError with every fault."""
    if not written.strip():
        return ()
    try:
        document: object = json.loads(written)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"is not JSON: {exc}") from exc
    faults: list[Fault] = []
    rules = read_metrics(Reader(document, "", faults))
    if faults:
        raise ValueError("; ".join(map(str, faults[:_MOST_FAULTS])))
    return rules


def _each(reader: Reader, read: Callable[[str, object, list[Fault]], T | None]) -> list[tuple[str, T]]:
    found: list[tuple[str, T]] = []
    for name, value in reader.items():
        if len(found) >= _MOST_ENTRIES:
            reader.fault("", f"has more than {_MOST_ENTRIES} entries")
            break
        if not 0 < len(name) <= _MOST_NAME:
            reader.fault("", f"{shown(name)} cannot be a name")
            continue
        entry = read(name, value, reader.faults)
        if entry is not None:
            found.append((name, entry))
    return found


def _read_rules(reader: Reader) -> Rules:
    methods = reader.each("methods", _one_of(Method))
    cool_down_ms = reader.read("cooldownMs", whole(0, _DAY_MS))
    return Rules(
        reader.read("enabled", truth),
        reader.read("minConfidence", _share),
        None if cool_down_ms is None else cool_down_ms / 1000,
        reader.read("minSeverity", _one_of(Severity)),
        frozenset(methods) if reader.has("methods") else None,
    )


def _verdict(name: str, value: object, faults: list[Fault]) -> Verdict | None:
    reader = Reader({"said": value}, f"feedback.{name}", faults)
    return reader.read("said", _one_of(Verdict))


E = TypeVar("E", Method, Severity, Verdict)


def _one_of(words: type[E]) -> Callable[[object], E]:
    known: Mapping[str, E] = {str(word): word for word in words}

    def read(value: object) -> E:
        word = text(value)
        if word not in known:
            raise ValueError(f"is one of {', '.join(known)}, not {shown(value)}")
        return known[word]

    return read


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"is to be a number from 0 to 1, not {shown(value)}")
    return float(cast("float", value))


def _fits(metric: str, pattern: str) -> bool:
    return metric == pattern or fnmatchcase(metric, pattern)
