"""Simulation mode at work: scenarios start and stop by their names, in one task that sleeps until one is due."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from iotistic.agent.scenarios import chance
from iotistic.agent.scenarios.config import read_scenario
from iotistic.agent.scenarios.errors import ScenarioUnknown, SimulationOff
from iotistic.agent.scenarios.model import (
    ANOMALY_INJECTION,
    NAMES,
    SENSOR_DATA,
    AnomalyInjection,
    MemoryLeak,
    Scenario,
    SensorData,
    Simulation,
)
from iotistic.agent.scenarios.quantities import MACHINE, Quantity
from iotistic.agent.scenarios.running import (
    DataPoint,
    Running,
    RunningAnomalies,
    RunningLeak,
    RunningSensors,
    Surroundings,
)
from iotistic.agent.sensors.reading import Reading

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Started:
    running: Running
    at: float


class Scenarios:
    """`publish` is the Publisher's, `feed` whoever looks for anomalies; `clock` gives seconds since 1970."""

    def __init__(
        self,
        simulation: Simulation,
        device_uuid: str,
        *,
        publish: Callable[[str, Sequence[Reading]], Awaitable[None]],
        clock: Callable[[], float],
        feed: Callable[[DataPoint], None] = lambda _point: None,
    ) -> None:
        seed = simulation.seed if simulation.seed is not None else chance.seed_of(device_uuid)
        self._simulation, self._clock = simulation, clock
        self._around = Surroundings(publish, clock, seed, feed, self._disturb)
        self._scenarios = dict(simulation.scenarios)
        self._started: dict[str, _Started] = {}
        self._changed = asyncio.Event()
        self._warn_at = 0.0

    async def run(self) -> None:
        """Simulate until cancelled; without simulation mode this only sleeps."""
        for name in NAMES:
            if name in self._simulation.begins:
                self.start(name)
        try:
            while True:
                self._changed.clear()
                await self._act()
                await self._rest()
        finally:
            self.stop_all()

    def start(self, name: str, config: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """Start a scenario, or start it anew with another configuration; return how it is.

        Raises SimulationOff, ScenarioUnknown and SimulationInvalid.
        """
        self._check(name)
        if config is not None:
            self._scenarios[name] = read_scenario(name, config)
            self.stop(name)
        if name not in self._started:
            now = self._clock()
            self._started[name] = _Started(self._begun(self._scenarios[name], now), now)
            log.warning("simulation.started", scenario=name)
            self._changed.set()
        return self._told(name)

    def stop(self, name: str) -> Mapping[str, object]:
        """Stop a scenario; return how it is. Raises SimulationOff and ScenarioUnknown."""
        self._check(name)
        started = self._started.pop(name, None)
        if started is not None:
            started.running.stop()
            log.warning("simulation.stopped", scenario=name)
            self._changed.set()
        return self._told(name)

    def stop_all(self) -> Mapping[str, object]:
        """Stop everything; return how it is."""
        for name in list(self._started):
            self.stop(name)
        return self.status()

    def status(self) -> Mapping[str, object]:
        """Return what `GET /v1/simulation/status` answers."""
        return {
            "enabled": self._simulation.enabled,
            "activeCount": len(self._started),
            "scenarios": [self._told(name) for name in NAMES],
        }

    def disturb(self, metrics: Mapping[str, object]) -> dict[str, object]:
        """Return figures of the machine, as reports name them, with the anomalies that are injected now."""
        changed, now = dict(metrics), self._clock()
        if ANOMALY_INJECTION not in self._started:
            return changed
        for field, metric in (("cpu_usage", "cpu_usage"), ("temperature", "cpu_temp")):
            if isinstance(value := changed.get(field), int | float):
                changed[field] = self._disturb(MACHINE[metric], value, now)
        for field in ("memory", "storage"):
            used, total = changed.get(f"{field}_usage"), changed.get(f"{field}_total")
            if isinstance(used, int | float) and isinstance(total, int | float) and total > 0:
                before = 100 * used / total
                after = self._disturb(MACHINE[f"{field}_percent"], before, now)
                if after != before:
                    changed[f"{field}_usage"] = round(total * after / 100)
        return changed

    def _check(self, name: str) -> None:
        if name not in NAMES:
            raise ScenarioUnknown(f"there is no scenario {name[:80]!r}", hint=", ".join(NAMES))
        if not self._simulation.enabled:
            raise SimulationOff(hint="start the agent with SIMULATION_MODE=true")

    def _begun(self, scenario: Scenario, now: float) -> Running:
        match scenario:
            case SensorData():
                return RunningSensors(scenario, self._around, now)
            case AnomalyInjection():
                data = self._scenarios[SENSOR_DATA]
                sensors = data.quantities if isinstance(data, SensorData) else ()
                return RunningAnomalies(scenario, self._around, now, sensors)
            case MemoryLeak():
                return RunningLeak(scenario, self._around, now)

    def _disturb(self, quantity: Quantity, value: float, at: float) -> float:
        started = self._started.get(ANOMALY_INJECTION)
        if started is None or not isinstance(started.running, RunningAnomalies):
            return value
        return started.running.disturb(quantity, value, at)

    def _told(self, name: str) -> dict[str, object]:
        started = self._started.get(name)
        told: dict[str, object] = {
            "name": name,
            "enabled": self._simulation.enabled and name in self._simulation.begins,
            "running": started is not None,
        }
        if started is not None:
            told |= {"startedAt": round(started.at * 1000), "stats": dict(started.running.stats())}
        return told

    async def _act(self) -> None:
        now = self._clock()
        for started in list(self._started.values()):
            if started.running.due_at <= now and started in self._started.values():
                await started.running.act(now)
        if self._started and now >= self._warn_at:
            self._warn_at = now + self._simulation.warn_every_s
            log.warning("simulation.active", scenarios=sorted(self._started))

    async def _rest(self) -> None:
        """Wait until a scenario is due, or one was started or stopped."""
        now = self._clock()
        for one in self._started.values():  # a clock that was set back makes nobody wait
            one.running.due_at = min(one.running.due_at, now + one.running.every_s)
        due = [one.running.due_at - now for one in self._started.values()]
        if due:
            due.append(self._warn_at - now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due)) if due else None):
                await self._changed.wait()
