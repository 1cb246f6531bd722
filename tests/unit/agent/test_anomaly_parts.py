"""Configuration, what is measured, and what is kept, without a watch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.agent.anomalies.config import AnomalyConfig, Rules, Wanted
from iotistic.agent.anomalies.model import Measured, Source, iso, read_anomaly, write_anomaly
from iotistic.agent.anomalies.settings import AnomalySettings, AnomalySettingsInvalid
from iotistic.agent.anomalies.sources import figures_of, of_machine, of_readings
from iotistic.agent.anomalies.testing import made_up
from iotistic.agent.device_config import read_device_config
from iotistic.agent.metrics.model import Glance, Memory, Storage
from iotistic.agent.sensors.reading import Quality, Reading
from iotistic.detection.events import Method, Severity
from iotistic.detection.feedback import Verdict
from iotistic.detection.incidents import Incidents
from iotistic.kernel.settings import load_settings

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["enabled", "minConfidence", "cooldownMs", "minSeverity", "methods", "metrics", "feedback"]
)


def read(said):
    return read_device_config({"config": {"anomalyDetection": said}})


def test_what_the_cloud_wishes_is_read():
    config, faults = read(
        {
            "enabled": True,
            "minConfidence": 0.8,
            "cooldownMs": 60_000,
            "minSeverity": "warning",
            "methods": ["zscore"],
            "metrics": {"cpu_*": {"enabled": False}},
            "feedback": {"a-1": "expected"},
        }
    )
    rules = Rules(True, 0.8, 60.0, Severity.WARNING, frozenset({Method.ZSCORE}))

    assert faults == []
    assert config.anomalies == AnomalyConfig(
        rules, (("cpu_*", Rules(enabled=False)),), (("a-1", Verdict.EXPECTED),)
    )


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"enabled": "yes"}, "enabled"),
        ({"minConfidence": 2}, "minConfidence"),
        ({"cooldownMs": -1}, "cooldownMs"),
        ({"minSeverity": "fatal"}, "minSeverity"),
        ({"methods": ["ewma"]}, "methods[0]"),
        ({"windowSize": 500}, "windowSize"),
        ({"metrics": {"cpu": {"threshold": 3}}}, "metrics.cpu.threshold"),
        ({"metrics": {"": {}}}, "metrics"),
        ({"feedback": {"a": "fine"}}, "feedback.a.said"),
        ({"metrics": []}, "metrics"),
    ],
)
def test_what_cannot_be_understood_is_told_by_its_path_and_the_rest_holds(said, path):
    config, faults = read({"minConfidence": 0.9, **said} if "minConfidence" not in said else said)

    assert path in str(faults[0])
    assert config.anomalies.rules.confidence in (0.9, None)


@settings(deadline=None)
@given(st.dictionaries(KEYS | st.text(max_size=4), JSON, max_size=5) | JSON)
def test_whatever_comes_nothing_is_raised(said):
    read(said)


def test_the_nearest_word_counts():
    here = AnomalyConfig(
        Rules(True, 0.7, 300.0, Severity.INFO), (("cpu_usage", Rules(severity=Severity.CRITICAL)),)
    )
    cloud = AnomalyConfig(
        Rules(confidence=0.9, severity=Severity.WARNING), (("cpu*", Rules(cool_down_s=5.0)),)
    )
    wanted = Wanted(here, cloud)

    assert wanted.of("cpu_usage") == Rules(True, 0.9, 5.0, Severity.CRITICAL)
    assert wanted.of("memory_percent") == Rules(True, 0.9, 300.0, Severity.WARNING)
    assert Wanted().is_on
    assert not Wanted(AnomalyConfig(Rules(enabled=False))).is_on
    assert Wanted(AnomalyConfig(Rules(enabled=False)), AnomalyConfig(Rules(enabled=True))).is_on


def test_the_environment_says_the_same(monkeypatch):
    monkeypatch.setenv("ANOMALY_DETECTION_ENABLED", "false")
    monkeypatch.setenv("ANOMALY_MIN_SEVERITY", "critical")
    monkeypatch.setenv("ANOMALY_METRICS", '{"bus/*": {"cooldownMs": 1000}}')
    config = load_settings(AnomalySettings).anomaly_config

    assert config.rules == Rules(False, 0.7, 300.0, Severity.CRITICAL)
    assert config.of("bus/pump/flow") == Rules(cool_down_s=1.0)


@pytest.mark.parametrize("said", ["{", "[]", '{"a": {"enabled": 1}}', '{"a": {"b": 1}}'])
def test_an_environment_that_makes_no_sense_is_refused(said):
    with pytest.raises(AnomalySettingsInvalid):
        _ = AnomalySettings(anomaly_metrics=said).anomaly_config


def test_the_machine_is_measured_in_percent_and_what_is_not_known_is_left_out():
    glance = Glance(12.5, None, Memory(250, 1000), Storage(0, 0))

    assert of_machine(figures_of(glance), 7.0, 0.025) == [
        Measured("cpu_usage", 12.5, 7.0, "%"),
        Measured("memory_percent", 25.0, 7.0, "%"),
        Measured("network_latency", 25.0, 7.0, "ms"),
    ]


def test_numbers_of_sensors_are_taken_under_the_names_of_their_series():
    readings = [
        Reading("flow", 3, "l/min", 5.0, device="pump"),
        Reading("temperature", 21.5, "°C", 5.0, Quality.UNCERTAIN, simulated=True),
        Reading("open", True, at=5.0),
        Reading("name", "x", at=5.0),
        Reading("silent", None, at=5.0),
        Reading("broken", 1.0, at=5.0, quality=Quality.BAD),
    ]

    assert of_readings("bus", readings) == [
        Measured("bus/pump/flow", 3.0, 5.0, "l/min", Source.SENSOR),
        Measured("bus/temperature", 21.5, 5.0, "°C", Source.SENSOR, simulated=True),
    ]


def test_an_anomaly_is_kept_as_it_is():
    known, alert = made_up({}, 1.8e9)
    incident, _ = Incidents().take("test", alert.event())
    anomaly = known.anomaly(7, incident, alert)

    assert read_anomaly(7, write_anomaly(anomaly)) == anomaly
    for wrong in ({}, {"incident": {}}, {**write_anomaly(anomaly), "verdict": "fine"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            read_anomaly(7, wrong)


@pytest.mark.parametrize("at", [-5.0, 0.0, 1e18])
def test_a_time_that_no_calendar_has_is_shown_all_the_same(at):
    assert iso(at).endswith("Z")
