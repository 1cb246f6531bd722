"""What devices report of anomalies is read as agents write it; everything else is refused, and breaks nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.anomalies.model import Anomaly, Source
from iotistic.agent.sensors.reading import MOST_NAME
from iotistic.control.anomalies.model import Told, read_told
from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.feedback import Verdict
from iotistic.detection.incidents import Incident

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
AT = NOW.timestamp() - 600


def document(**changes):
    event = Event(
        "cpu_usage", AT, 97.5, Method.ZSCORE, Severity.CRITICAL, 0.95, 41.2, 2.1, 9.8, 5.9, Trend.STEADY, 6.0
    )
    incident = Incident("3fa2c81b-19a4f0c2b10", "3fa2c81b90cd1e77", event, AT, AT + 210, 8)
    agents = Anomaly(
        1, incident, Source.SYSTEM, "%", recent=(6.1, 97.5), samples=2881, verdict=Verdict.EXPECTED
    )
    return agents.document() | changes


def test_a_unit_may_be_as_long_as_a_sensor_may_give_it():
    assert read_told(document(unit="m" * MOST_NAME), NOW).unit == "m" * 32


def test_what_an_agent_writes_is_read():
    told = read_told(document(), NOW)

    assert told == Told(
        name="3fa2c81b-19a4f0c2b10",
        fingerprint="3fa2c81b90cd1e77",
        source="system",
        metric="cpu_usage",
        unit="%",
        severity="critical",
        method="zscore",
        trend="steady",
        value=97.5,
        expected_low=2.1,
        expected_high=9.8,
        baseline=5.9,
        deviation=41.2,
        confidence=0.95,
        recent=(6.1, 97.5),
        samples=2881,
        count=8,
        first_at=NOW - timedelta(seconds=600),
        last_at=NOW - timedelta(seconds=390),
        verdict="expected",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "x" * 101),
        ("id", None),
        ("severity", "terrible"),
        ("severity", ["critical"]),
        ("detectionMethod", "guessed"),
        ("value", "97"),
        ("value", True),
        ("value", 10**400),
        ("count", 0),
        ("count", 2**63),
        ("count", 1.5),
        ("timestamp", "yesterday"),
        ("timestamp", 1_763_733_600),
        ("metric", {"a": 1}),
        ("source", "elsewhere"),
    ],
)
def test_garbage_is_refused_by_its_field(field, value):
    with pytest.raises(ValueError, match=field):
        read_told(document(**{field: value}), NOW)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:05.000Z"),
        ("2099-01-01T00:00:00.000Z", "2099-01-01T00:00:05.000Z"),
        ("2026-05-17T11:00:00.000Z", "2026-05-17T10:00:00.000Z"),
    ],
)
def test_a_clock_that_cannot_be_believed_gives_way_to_ours(first, last):
    told = read_told(document(timestamp=first, lastSeen=last), NOW)

    assert (told.first_at, told.last_at, told.is_restamped) == (NOW, NOW, True)


def test_what_no_database_takes_is_left_out_of_texts():
    told = read_told(document(metric="a\0b\ud800"), NOW)

    assert told.metric == "ab?"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(document())), inner),
        max_leaves=20,
    )
)
def test_nothing_but_a_value_error_comes_of_any_json(said):
    outcomes = []
    for given_document in (said, document() | (said if isinstance(said, dict) else {"context": said})):
        try:
            outcomes.append(read_told(given_document, NOW))
        except ValueError as exc:
            outcomes.append(exc)

    assert len(outcomes) == 2
