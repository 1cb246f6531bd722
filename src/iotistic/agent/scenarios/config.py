"""SIMULATION_CONFIG: everything is understood, or refused by its name, with all faults at once.

    {"scenarios": {"sensor_data": {"enabled": true, "pattern": "realistic", "publishIntervalMs": 10000},
                   "anomaly_injection": {"metrics": ["cpu_temp"], "pattern": "spike", "intervalMs": 60000},
                   "memory_leak": {"type": "gradual", "rateMB": 1, "intervalMs": 5000, "maxMB": 50}},
     "warningInterval": 300000, "seed": 7}

A scenario that is named begins with the agent unless it says `"enabled": false`; the others wait until
somebody starts them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from iotistic.agent.scenarios.config_quantities import entry_of, read_quantity
from iotistic.agent.scenarios.config_values import between, either, listed, name_of, seconds, sensor_of
from iotistic.agent.scenarios.errors import ScenarioUnknown, SimulationInvalid
from iotistic.agent.scenarios.model import (
    ANOMALY_INJECTION,
    MEMORY_LEAK,
    NAMES,
    SENSOR_DATA,
    AnomalyInjection,
    LeakKind,
    MemoryLeak,
    Pattern,
    Scenario,
    SensorData,
    Severity,
    Simulation,
)
from iotistic.agent.scenarios.quantities import MACHINE
from iotistic.planning.faults import Fault, Reader, shown, truth, whole
from iotistic.planning.notation import choice

_DAY_MS = 86_400_000
_MOST_SENSORS = 200
_MOST_MB = 1024.0


def read_simulation(written: str) -> Simulation:
    """Read the whole configuration. Raises SimulationInvalid."""
    faults: list[Fault] = []
    top = Reader(_parsed(written), "", faults)
    given = top.inner("scenarios")
    scenarios = dict(Simulation().scenarios)
    begins: set[str] = set()
    for name, value in given.items() if given else ():
        if name not in NAMES:
            faults.append(Fault(f"scenarios.{name}", f"is no scenario: {listed(NAMES)}"))
            continue
        reader = Reader(value, f"scenarios.{name}", faults)
        if either(reader.read("enabled", truth), default=True):
            begins.add(name)
        scenarios[name] = _read(name, reader)
    warn_ms = top.read("warningInterval", whole(1000, _DAY_MS))
    seed = top.read("seed", whole(0, 2**63))
    top.refuse_others()
    _check_metrics(scenarios, faults)
    _refuse(faults)
    simulation = Simulation(enabled=True, scenarios=scenarios, begins=frozenset(begins), seed=seed)
    return simulation if warn_ms is None else replace(simulation, warn_every_s=warn_ms / 1000)


def read_scenario(name: str, document: Mapping[str, object]) -> Scenario:
    """Read the configuration of one scenario, as it comes with a wish to start it.

    Raises ScenarioUnknown and SimulationInvalid.
    """
    if name not in NAMES:
        raise ScenarioUnknown(f"there is no scenario {name[:80]!r}", hint=listed(NAMES))
    faults: list[Fault] = []
    reader = Reader(dict(document), name, faults)
    reader.raw("enabled")
    scenario = _read(name, reader)
    _refuse(faults)
    return scenario


def _parsed(written: str) -> object:
    try:
        return json.loads(written)
    except (ValueError, RecursionError) as exc:
        raise SimulationInvalid(f"SIMULATION_CONFIG is not JSON: {exc}") from exc


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise SimulationInvalid(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''}\n  " + "\n  ".join(map(str, faults[:50])),
            hint="see docs/agent/simulation.md",
            faults=[fault._asdict() for fault in faults],
        )


def _read(name: str, reader: Reader) -> Scenario:
    scenario = _READERS[name](reader)
    reader.refuse_others()
    return scenario


def _read_sensor_data(reader: Reader) -> SensorData:
    default = SensorData()
    entries = reader.each("sensors", lambda entry: entry)
    quantities = [
        read_quantity(Reader(entry_of(entry), reader.at(f"sensors[{index}]"), reader.faults))
        for index, entry in enumerate(entries[:_MOST_SENSORS])
    ]
    found = tuple(one for one in quantities if one is not None)
    if len(entries) > _MOST_SENSORS:
        reader.fault("sensors", f"are more than {_MOST_SENSORS}")
    if len({one.metric for one in found}) < len(found):
        reader.fault("sensors", "name a metric twice")
    return SensorData(
        found or default.quantities,
        either(reader.read("pattern", choice(Pattern)), default=default.pattern),
        seconds(reader, "publishIntervalMs", default.every_s),
        seconds(reader, "periodMs", default.period_s),
        either(reader.read("sensor", sensor_of), default=default.sensor),
    )


def _read_anomalies(reader: Reader) -> AnomalyInjection:
    default = AnomalyInjection()
    metrics = tuple(dict.fromkeys(reader.each("metrics", name_of)))
    every_s = seconds(reader, "intervalMs", default.every_s)
    pattern = either(reader.read("pattern", choice(Pattern)), default=default.pattern)
    lasts_s = every_s if pattern is Pattern.DRIFT else every_s / 3
    lasts_s = seconds(reader, "durationMs", lasts_s)
    if lasts_s > every_s:
        reader.fault("durationMs", "is more than intervalMs")
    return AnomalyInjection(
        metrics or default.metrics,
        pattern,
        every_s,
        lasts_s,
        either(reader.read("rate", between(0, 1)), default=default.rate),
        either(reader.read("magnitude", between(0.1, 10)), default=default.magnitude),
        either(reader.read("severity", choice(Severity)), default=default.severity),
    )


def _read_leak(reader: Reader) -> MemoryLeak:
    default = MemoryLeak()
    return MemoryLeak(
        either(reader.read("type", choice(LeakKind)), default=default.kind),
        either(reader.read("rateMB", between(0.01, _MOST_MB)), default=default.rate_mb),
        seconds(reader, "intervalMs", default.every_s),
        either(reader.read("maxMB", between(0.01, _MOST_MB)), default=default.most_mb),
    )


_READERS: Mapping[str, Callable[[Reader], Scenario]] = {
    SENSOR_DATA: _read_sensor_data,
    ANOMALY_INJECTION: _read_anomalies,
    MEMORY_LEAK: _read_leak,
}


def _check_metrics(scenarios: Mapping[str, Scenario], faults: list[Fault]) -> None:
    """An anomaly of something that nobody measures would be a wish that silently does not come true."""
    data, injection = scenarios[SENSOR_DATA], scenarios[ANOMALY_INJECTION]
    if isinstance(data, SensorData) and isinstance(injection, AnomalyInjection):
        known = [*MACHINE, *(one.metric for one in data.quantities)]
        for metric in injection.metrics:
            if metric not in known:
                path = f"scenarios.{ANOMALY_INJECTION}.metrics"
                faults.append(Fault(path, f"{shown(metric)} is not measured here: {listed(known)}"))
