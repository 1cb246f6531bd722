"""What is simulated, as `config.py` reads it. Times in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from iotistic.agent.scenarios.quantities import MACHINE, USUAL, Quantity

SENSOR_DATA, ANOMALY_INJECTION, MEMORY_LEAK = "sensor_data", "anomaly_injection", "memory_leak"
NAMES = (SENSOR_DATA, ANOMALY_INJECTION, MEMORY_LEAK)


class Pattern(StrEnum):
    """The way of values in time."""

    REALISTIC = "realistic"
    """A daily wave, and noise that returns to it."""
    RANDOM = "random"
    """Anywhere in the sensor's range, each time anew."""
    SINE = "sine"
    """A pure wave about the base."""
    SPIKE = "spike"
    DROP = "drop"
    DRIFT = "drift"
    """Moves away steadily, and starts over."""
    CYCLIC = "cyclic"
    """A machine at work: rises, stays, falls, rests."""
    NOISY = "noisy"
    FAULTY = "faulty"
    """Sticks, falls silent, or says what cannot be."""
    EXTREME = "extreme"
    """One end of the range, then the other."""


class LeakKind(StrEnum):
    """How memory is lost."""

    GRADUAL = "gradual"
    SUDDEN = "sudden"
    CYCLIC = "cyclic"
    """Gradual, and given back when the cap is reached, again and again."""


class Severity(StrEnum):
    """How bad an injected anomaly is said to be."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class SensorData:
    """Readings of sensors that are not there."""

    quantities: tuple[Quantity, ...] = USUAL
    pattern: Pattern = Pattern.REALISTIC
    every_s: float = 10.0
    period_s: float = 300.0
    """Of the patterns that repeat."""
    sensor: str = "simulation"
    """Last level of the topic, and first part of the series' names."""


@dataclass(frozen=True, slots=True)
class AnomalyInjection:
    """Values that are not as they would be, in some metrics and at some times."""

    metrics: tuple[str, ...] = tuple(MACHINE)
    pattern: Pattern = Pattern.SPIKE
    every_s: float = 60.0
    lasts_s: float = 20.0
    rate: float = 1.0
    """Share of the intervals that have an anomaly."""
    magnitude: float = 3.0
    """Each is half of the value more, or so much less."""
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True)
class MemoryLeak:
    """Memory that is really taken."""

    kind: LeakKind = LeakKind.GRADUAL
    rate_mb: float = 1.0
    every_s: float = 5.0
    most_mb: float = 50.0


Scenario = SensorData | AnomalyInjection | MemoryLeak
_DEFAULTS: Mapping[str, Scenario] = MappingProxyType(
    {SENSOR_DATA: SensorData(), ANOMALY_INJECTION: AnomalyInjection(), MEMORY_LEAK: MemoryLeak()}
)


@dataclass(frozen=True)
class Simulation:
    """Everything that is simulated; `begins` names the scenarios that run from the start."""

    enabled: bool = False
    scenarios: Mapping[str, Scenario] = field(default_factory=lambda: dict(_DEFAULTS))
    begins: frozenset[str] = frozenset()
    warn_every_s: float = 300.0
    seed: int | None = None
    """None makes each device different."""
