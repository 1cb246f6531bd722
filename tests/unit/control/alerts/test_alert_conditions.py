"""What a rule may ask, and that a mistake is named by its field."""

import pytest
from pydantic import TypeAdapter, ValidationError

from iotistic.control.alerts.conditions import Definition, RuleSpec, Severity, Stream

SPEC = TypeAdapter(RuleSpec)


def faults(**condition):
    try:
        Definition.model_validate({"condition": condition})
    except ValidationError as exc:
        return [".".join(map(str, fault["loc"])) for fault in exc.errors()]
    return []


@pytest.mark.parametrize(
    ("condition", "field"),
    [
        ({"type": "treshold", "metric": "t"}, "condition"),
        ({"type": "threshold", "metric": "t"}, "condition.threshold.below"),
        ({"type": "threshold", "metric": "t", "above": 1, "below": 2}, "condition.threshold.below"),
        ({"type": "threshold", "metric": "t", "above": "NaN"}, "condition.threshold.above"),
        ({"type": "threshold", "above": 1}, "condition.threshold.metric"),
        ({"type": "threshold", "metric": "t", "above": 1, "window": 3}, "condition.threshold.window"),
        ({"type": "rate_of_change", "metric": "t", "windowS": 9}, "condition.rate_of_change.falls_by"),
        ({"type": "no_data", "metric": "t", "afterS": 1}, "condition.no_data.afterS"),
        (
            {"type": "log_count", "match": {"text": "x"}, "count": 0, "windowS": 1},
            "condition.log_count.count",
        ),
        (
            {"type": "log_pattern", "match": {"kind": "regex", "text": "("}},
            "condition.log_pattern.match.text",
        ),
        ({"type": "log_sequence", "steps": [{"text": "a"}], "withinS": 5}, "condition.log_sequence.steps"),
        ({"type": "reported_value", "field": "cpu_usage"}, "condition.reported_value.below"),
    ],
)
def test_a_mistake_is_named_by_its_field(condition, field):
    assert faults(**condition) == [field]


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*b", "a*b*c*d", r"(x)\1", "(?=x)", "(?i)x", "a{1,9}b*c+"])
def test_expressions_that_may_take_for_ever_are_refused(text):
    assert faults(type="log_pattern", match={"kind": "regex", "text": text}) != []


@pytest.mark.parametrize(
    "text", ["error", "fail(ed|ure)", "^E[0-9]+ .*lost$", r"[*+]{3} \d\d", "a?b?", r"\(\*\+", "(?:a|b)c"]
)
def test_plain_expressions_are_taken(text):
    assert faults(type="log_pattern", match={"kind": "regex", "text": text}) == []


def test_a_duration_is_refused_where_the_condition_has_its_own():
    with pytest.raises(ValidationError) as refused:
        Definition.model_validate({"condition": {"type": "device_offline", "afterS": 60}, "forS": 5})

    assert [fault["loc"] for fault in refused.value.errors()] == [("forS",)]


def test_a_definition_comes_back_as_it_was_kept():
    spec = RuleSpec.model_validate(
        {
            "name": "hot",
            "severity": "critical",
            "condition": {"type": "threshold", "metric": "temperature", "above": 30, "hysteresis": 2},
            "selection": {"fleet": "hall-1", "tags": {"floor": "2"}},
            "forS": 60,
        }
    )

    assert Definition.read(spec.definition.write()) == spec.definition
    assert (spec.stream, spec.metric) == (Stream.TELEMETRY, "temperature")


def test_severities_are_in_order():
    assert Severity.CRITICAL.reaches(Severity.WARNING)
    assert not Severity.INFO.reaches(Severity.WARNING)
