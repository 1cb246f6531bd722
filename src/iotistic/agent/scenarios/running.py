"""Scenarios that run: each says when it is next, acts, and tells how it is. Times in seconds since 1970."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from iotistic.agent.link.pacing import next_slot
from iotistic.agent.scenarios.anomalies import disturbed, onset
from iotistic.agent.scenarios.leak import Ballast, leaked_mb
from iotistic.agent.scenarios.model import AnomalyInjection, MemoryLeak, SensorData, Severity
from iotistic.agent.scenarios.patterns import sample
from iotistic.agent.scenarios.quantities import MACHINE, Quantity
from iotistic.agent.sensors.reading import Quality, Reading
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_AT_ONCE_MB = 64.0
"""Taking memory stops the agent for a moment: 64 MB for some 20 ms."""


class DataPoint(NamedTuple):
    """A value for whoever looks for anomalies."""

    source: str
    metric: str
    value: float
    unit: str
    at: float
    quality: Quality
    severity: Severity


@dataclass(frozen=True)
class Surroundings:
    """What scenarios act on; `seed` makes devices differ."""

    publish: Callable[[str, Sequence[Reading]], Awaitable[None]]
    clock: Callable[[], float]
    seed: int
    feed: Callable[[DataPoint], None] = lambda _point: None
    disturb: Callable[[Quantity, float, float], float] = lambda _quantity, value, _at: value
    """Puts an anomaly in the place of a value at a time, while one is injected."""


class Running(Protocol):
    """A scenario at work."""

    due_at: float
    every_s: float

    async def act(self, now: float) -> None:
        """Do what is due, and say by `due_at` when it is next."""
        ...

    def stats(self) -> Mapping[str, object]:
        """Return how it is, as the device API shows it."""
        ...

    def stop(self) -> None:
        """Let go of everything."""
        ...


class RunningSensors:
    """Publishes simulated readings at this device's moment of each interval."""

    def __init__(self, scenario: SensorData, around: Surroundings, now: float) -> None:
        self._scenario, self._around = scenario, around
        self.every_s = scenario.every_s
        self.due_at = self._next(now)
        self._published = 0

    async def act(self, now: float) -> None:
        """Publish what the sensors show now."""
        readings = [self._read(quantity, now) for quantity in self._scenario.quantities]
        self.due_at = self._next(now)
        try:
            await self._around.publish(self._scenario.sensor, readings)
        except IotisticError as exc:
            log.warning("simulation.not_published", code=exc.code, reason=exc.message)
        else:
            self._published += len(readings)

    def stats(self) -> Mapping[str, object]:
        """Return pattern, interval, sensors, and how many readings were published."""
        scenario = self._scenario
        return {
            "pattern": scenario.pattern.value,
            "publishIntervalMs": round(scenario.every_s * 1000),
            "sensors": [quantity.metric for quantity in scenario.quantities],
            "publishCount": self._published,
        }

    def stop(self) -> None:
        """There is nothing to let go of."""

    def _next(self, now: float) -> float:
        return next_slot(str(self._around.seed), self.every_s, now)

    def _read(self, quantity: Quantity, now: float) -> Reading:
        scenario, seed = self._scenario, self._around.seed
        value, quality = sample(quantity, scenario.pattern, now, seed, scenario.period_s)
        if value is not None:
            value = self._around.disturb(quantity, value, now)
        return Reading(quantity.metric, value, quantity.unit, now, quality, simulated=True)


class RunningAnomalies:
    """Disturbs values that are asked for, and feeds one of each anomaly to whoever looks for them."""

    def __init__(
        self, scenario: AnomalyInjection, around: Surroundings, now: float, sensors: Sequence[Quantity]
    ) -> None:
        self._scenario, self._around = scenario, around
        known = MACHINE | {quantity.metric: quantity for quantity in sensors}
        self._quantities = [known[metric] for metric in scenario.metrics if metric in known]
        self.every_s = scenario.every_s
        self.due_at = now
        self._injected = 0
        self._last: set[tuple[str, int]] = set()

    async def act(self, now: float) -> None:
        """Feed the anomalies that have begun."""
        self.due_at = (math.floor(now / self.every_s) + 1) * self.every_s
        seen: set[tuple[str, int]] = set()
        for quantity in self._quantities:
            begun = onset(self._scenario, quantity.metric, now, self._around.seed)
            if begun is not None:
                seen.add((quantity.metric, begun.number))
                if (quantity.metric, begun.number) not in self._last:
                    self._feed(quantity, now)
        self._last = seen

    def disturb(self, quantity: Quantity, value: float, at: float) -> float:
        """Return a value as it is to be seen."""
        changed = disturbed(self._scenario, quantity, value, at, self._around.seed)
        return value if changed is None else changed

    def stats(self) -> Mapping[str, object]:
        """Return metrics, pattern, and how many anomalies were injected."""
        scenario = self._scenario
        return {
            "metrics": list(scenario.metrics),
            "pattern": scenario.pattern.value,
            "severity": scenario.severity.value,
            "magnitude": scenario.magnitude,
            "rate": scenario.rate,
            "intervalMs": round(scenario.every_s * 1000),
            "injectionCount": self._injected,
        }

    def stop(self) -> None:
        """There is nothing to let go of."""

    def _feed(self, quantity: Quantity, now: float) -> None:
        scenario = self._scenario
        value = self.disturb(quantity, quantity.base, now)
        source = "system" if quantity.metric in MACHINE else "sensor"
        point = DataPoint(source, quantity.metric, value, quantity.unit, now, Quality.GOOD, scenario.severity)
        self._around.feed(point)
        self._injected += 1
        log.info("simulation.anomaly_injected", metric=quantity.metric, value=value, unit=quantity.unit)


class RunningLeak:
    """Takes memory step by step."""

    def __init__(self, scenario: MemoryLeak, _around: Surroundings, now: float) -> None:
        self._scenario, self._started_at = scenario, now
        self.every_s = scenario.every_s
        self.due_at = now
        self._ballast = Ballast()

    async def act(self, now: float) -> None:
        """Hold what is to be held by now."""
        wanted = leaked_mb(self._scenario, now - self._started_at)
        self.due_at = now + self.every_s
        if wanted > self._ballast.mb + _AT_ONCE_MB:
            wanted, self.due_at = self._ballast.mb + _AT_ONCE_MB, now
        try:
            self._ballast.hold(wanted)
        except OSError as exc:
            self.due_at = now + self.every_s
            log.warning("simulation.memory_refused", reason=exc.strerror, held_mb=self._ballast.mb)

    def stats(self) -> Mapping[str, object]:
        """Return kind, rate, cap and what is held."""
        return {
            "type": self._scenario.kind.value,
            "rateMB": self._scenario.rate_mb,
            "intervalMs": round(self.every_s * 1000),
            "maxMB": self._scenario.most_mb,
            "totalLeakedMB": round(self._ballast.mb, 2),
        }

    def stop(self) -> None:
        """Give the memory back."""
        self._ballast.release()
