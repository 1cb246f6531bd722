"""Simulation mode: what it reads, and scenarios that start and stop."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.scenarios.config import read_simulation
from iotistic.agent.scenarios.errors import ScenarioUnknown, SimulationInvalid, SimulationOff
from iotistic.agent.scenarios.model import (
    ANOMALY_INJECTION,
    MEMORY_LEAK,
    NAMES,
    SENSOR_DATA,
    AnomalyInjection,
    LeakKind,
    MemoryLeak,
    Pattern,
    SensorData,
    Severity,
    Simulation,
)
from iotistic.agent.scenarios.quantities import Quantity
from iotistic.agent.scenarios.scenarios import Scenarios
from iotistic.agent.scenarios.settings import SimulationSettings

NOW = 1_795_255_200.0
UUID = "0f2d1c5a-7b1e-4c39-9d7e-1f0a3c2b4d5e"
WHOLE = {
    "scenarios": {
        "memory_leak": {"enabled": False, "type": "cyclic", "rateMB": 2, "intervalMs": 10_000, "maxMB": 30},
        "anomaly_injection": {
            "enabled": True,
            "metrics": ["cpu_usage", "co2"],
            "pattern": "drift",
            "intervalMs": 45_000,
            "durationMs": 9000,
            "rate": 0.25,
            "severity": "critical",
            "magnitude": 5,
        },
        "sensor_data": {
            "pattern": "sine",
            "publishIntervalMs": 8000,
            "periodMs": 60_000,
            "sensor": "lab",
            "sensors": [
                {
                    "metric": "temperature",
                    "unit": "°C",
                    "baseValue": 23.0,
                    "variance": 2.0,
                    "min": 15,
                    "max": 35,
                },
                "co2",
                {"metric": "torque", "unit": "Nm", "baseValue": 100},
            ],
        },
    },
    "warningInterval": 60_000,
    "seed": 7,
}


class World:
    """Where scenarios publish to and feed, and their clock."""

    def __init__(self, simulation, *, at=NOW):
        self.now, self.published, self.fed = at, [], []
        self.scenarios = Scenarios(
            simulation, UUID, publish=self.publish, clock=lambda: self.now, feed=self.fed.append
        )

    async def publish(self, sensor, readings):
        self.published.append((sensor, list(readings)))

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.scenarios.run())
        await self.settle()
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settle(self):
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, seconds):
        """Let time pass; starting and stopping wakes the loop as its timer would."""
        self.now += seconds
        self.scenarios._changed.set()
        await self.settle()


def simulated(**scenarios):
    return read_simulation(json.dumps({"scenarios": scenarios}))


def told(world, name):
    return next(one for one in world.scenarios.status()["scenarios"] if one["name"] == name)


def test_every_field_of_the_configuration_is_read():
    found = read_simulation(json.dumps(WHOLE))

    assert found.enabled
    assert found.begins == {ANOMALY_INJECTION, SENSOR_DATA}
    assert (found.warn_every_s, found.seed) == (60.0, 7)
    assert found.scenarios[MEMORY_LEAK] == MemoryLeak(LeakKind.CYCLIC, 2.0, 10.0, 30.0)
    assert found.scenarios[ANOMALY_INJECTION] == AnomalyInjection(
        ("cpu_usage", "co2"), Pattern.DRIFT, 45.0, 9.0, 0.25, 5.0, Severity.CRITICAL
    )
    data = found.scenarios[SENSOR_DATA]
    assert (data.pattern, data.every_s, data.period_s, data.sensor) == (Pattern.SINE, 8.0, 60.0, "lab")
    assert data.quantities[0] == Quantity("temperature", "°C", 23.0, 2.0, 15.0, 35.0, 0.1, 15.0)
    assert [(one.metric, one.unit) for one in data.quantities[1:]] == [("co2", "ppm"), ("torque", "Nm")]


def test_a_scenario_that_is_named_with_nothing_has_its_usual_values():
    found = simulated(sensor_data={}, memory_leak={}, anomaly_injection={})

    assert found.scenarios == Simulation().scenarios
    assert found.begins == set(NAMES)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"scenario": {}}, "scenario"),
        ({"scenarios": []}, "scenarios"),
        ({"scenarios": {"disk": {}}}, "scenarios.disk"),
        ({"scenarios": {"sensor_data": 3}}, "scenarios.sensor_data"),
        ({"scenarios": {"sensor_data": {"enabled": "yes"}}}, "scenarios.sensor_data.enabled"),
        ({"scenarios": {"sensor_data": {"interval": 3}}}, "scenarios.sensor_data.interval"),
        ({"scenarios": {"sensor_data": {"pattern": "sinus"}}}, "scenarios.sensor_data.pattern"),
        ({"scenarios": {"sensor_data": {"publishIntervalMs": 0}}}, "scenarios.sensor_data.publishIntervalMs"),
        ({"scenarios": {"sensor_data": {"sensor": "a/b"}}}, "scenarios.sensor_data.sensor"),
        ({"scenarios": {"sensor_data": {"sensors": [{}]}}}, "scenarios.sensor_data.sensors[0].metric"),
        ({"scenarios": {"sensor_data": {"sensors": ["x"]}}}, "scenarios.sensor_data.sensors[0].baseValue"),
        ({"scenarios": {"sensor_data": {"sensors": ["co2", "co2"]}}}, "scenarios.sensor_data.sensors"),
        (
            {"scenarios": {"sensor_data": {"sensors": [{"metric": "co2", "min": 9, "max": 3}]}}},
            "scenarios.sensor_data.sensors[0].min",
        ),
        (
            {"scenarios": {"sensor_data": {"sensors": [{"metric": "co2", "unit": "\ud800"}]}}},
            "scenarios.sensor_data.sensors[0].unit",
        ),
        ({"scenarios": {"anomaly_injection": {"rate": 1.5}}}, "scenarios.anomaly_injection.rate"),
        ({"scenarios": {"anomaly_injection": {"magnitude": True}}}, "scenarios.anomaly_injection.magnitude"),
        ({"scenarios": {"anomaly_injection": {"metrics": ["fuel"]}}}, "scenarios.anomaly_injection.metrics"),
        (
            {"scenarios": {"anomaly_injection": {"intervalMs": 1000, "durationMs": 2000}}},
            "scenarios.anomaly_injection.durationMs",
        ),
        ({"scenarios": {"memory_leak": {"type": "slow"}}}, "scenarios.memory_leak.type"),
        ({"scenarios": {"memory_leak": {"maxMB": 100_000}}}, "scenarios.memory_leak.maxMB"),
        ({"warningInterval": "1m"}, "warningInterval"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(change, path):
    with pytest.raises(SimulationInvalid) as refused:
        read_simulation(json.dumps(change))

    assert [fault["path"] for fault in refused.value.fields["faults"]] == [path]


def test_all_faults_are_told_at_once():
    with pytest.raises(SimulationInvalid) as refused:
        simulated(sensor_data={"pattern": 3, "colour": 1}, memory_leak={"rateMB": "much"})

    assert len(refused.value.fields["faults"]) == 3


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "null", "\x00", "[" * 5000])
def test_a_configuration_that_is_no_object_is_refused(text):
    with pytest.raises(SimulationInvalid):
        read_simulation(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NAMES, "scenarios", "sensors", "metric", "pattern", "min"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_garbage_is_read_or_refused_and_nothing_else(value):
    with contextlib.suppress(SimulationInvalid):
        assert read_simulation(json.dumps({"scenarios": {"sensor_data": value}})).enabled


def test_simulation_mode_alone_simulates_sensors(monkeypatch):
    monkeypatch.setenv("SIMULATION_MODE", "true")

    assert SimulationSettings().simulation.begins == {SENSOR_DATA}


def test_without_simulation_mode_its_configuration_is_not_looked_at(monkeypatch):
    monkeypatch.setenv("SIMULATION_CONFIG", '{"scenarios": {"memory_leak": {}}}')

    assert not SimulationSettings().simulation.enabled


async def test_without_simulation_mode_nothing_can_be_started():
    world = World(Simulation())
    async with world.running():
        for act in (world.scenarios.start, world.scenarios.stop):
            with pytest.raises(SimulationOff):
                act(SENSOR_DATA)

    assert world.scenarios.status()["enabled"] is False
    assert world.scenarios.stop_all()["activeCount"] == 0


async def test_sensors_publish_once_in_each_interval_what_the_generators_say():
    world = World(simulated(sensor_data={"publishIntervalMs": 10_000, "sensors": ["co2", "humidity"]}))
    async with world.running():
        for _ in range(6):
            await world.pass_time(10)

        assert [sensor for sensor, _ in world.published] == ["simulation"] * 6
        assert [[one.name for one in readings] for _, readings in world.published] == [
            ["co2", "humidity"]
        ] * 6
        assert all(one.simulated and one.unit for _, readings in world.published for one in readings)
        assert told(world, SENSOR_DATA)["stats"]["publishCount"] == 12


async def test_the_same_seed_publishes_the_same():
    worlds = [World(simulated(sensor_data={"pattern": "random"})) for _ in range(2)]
    for world in worlds:
        async with world.running():
            await world.pass_time(10)

    assert worlds[0].published == worlds[1].published != []


async def test_anomalies_disturb_readings_and_figures_and_are_fed_once_each():
    world = World(
        simulated(
            sensor_data={"publishIntervalMs": 1000, "sensors": ["temperature"]},
            anomaly_injection={"metrics": ["temperature", "cpu_temp", "memory_percent"], "magnitude": 2},
        ),
        at=NOW - NOW % 60,
    )
    figures = {"temperature": 50.0, "memory_usage": 300, "memory_total": 1000, "cpu_usage": 5.0}
    async with world.running():
        during = world.scenarios.disturb(figures)
        await world.pass_time(2)
        high = world.published[-1][1][0].value
        await world.pass_time(30)
        usual, after = world.published[-1][1][0].value, world.scenarios.disturb(figures)
        await world.pass_time(29)

        assert during == {"temperature": 100.0, "memory_usage": 600, "memory_total": 1000, "cpu_usage": 5.0}
        assert after == figures
        assert high > usual * 1.5
        assert [point.metric for point in world.fed] == ["temperature", "cpu_temp", "memory_percent"] * 2
        assert told(world, ANOMALY_INJECTION)["stats"]["injectionCount"] == 6


async def test_a_leak_takes_memory_up_to_its_cap_and_gives_it_back_when_stopped():
    world = World(simulated(memory_leak={"rateMB": 2, "intervalMs": 1000, "maxMB": 5}))
    async with world.running():
        held = []
        for _ in range(4):
            held.append(told(world, MEMORY_LEAK)["stats"]["totalLeakedMB"])
            await world.pass_time(1)
        world.scenarios.stop(MEMORY_LEAK)

        assert held == [2, 4, 5, 5]
        assert told(world, MEMORY_LEAK) == {"name": MEMORY_LEAK, "enabled": True, "running": False}


async def test_scenarios_start_and_stop_by_name():
    world = World(simulated(sensor_data={"enabled": False}))
    async with world.running():
        first = world.scenarios.start(SENSOR_DATA)
        again = world.scenarios.start(SENSOR_DATA, {"pattern": "sine", "publishIntervalMs": 500})
        await world.pass_time(0.5)
        status = world.scenarios.status()
        stopped = world.scenarios.stop_all()
        await world.pass_time(10)

        assert first == {
            "name": SENSOR_DATA,
            "enabled": False,
            "running": True,
            "startedAt": round(NOW * 1000),
            "stats": {
                "pattern": "realistic",
                "publishIntervalMs": 10_000,
                "sensors": ["temperature", "humidity", "pressure"],
                "publishCount": 0,
            },
        }
        assert again["stats"]["pattern"] == "sine"
        assert (status["activeCount"], stopped["activeCount"]) == (1, 0)
        assert len(world.published) == 1


async def test_what_cannot_be_started_is_refused_and_changes_nothing():
    world = World(simulated(sensor_data={}))
    async with world.running():
        with pytest.raises(ScenarioUnknown):
            world.scenarios.start("disk")
        with pytest.raises(ScenarioUnknown):
            world.scenarios.stop("disk")
        with pytest.raises(SimulationInvalid):
            world.scenarios.start(SENSOR_DATA, {"pattern": "zigzag"})

        assert told(world, SENSOR_DATA)["running"]
        assert told(world, SENSOR_DATA)["stats"]["pattern"] == "realistic"


async def test_nothing_is_left_of_a_simulation_that_ends():
    world = World(simulated(sensor_data={}, memory_leak={}, anomaly_injection={}))
    async with world.running():
        assert world.scenarios.status()["activeCount"] == 3

    assert world.scenarios.status()["activeCount"] == 0
    assert (
        world.scenarios._around.seed
        == Scenarios(Simulation(), UUID, publish=world.publish, clock=lambda: NOW)._around.seed
    )


def test_the_usual_sensor_data_is_what_a_device_without_hardware_would_show():
    assert [one.metric for one in SensorData().quantities] == ["temperature", "humidity", "pressure"]
