"""Schemas inferred from payloads."""

import json

import pytest

from iotistic.control.broker.shape import merged, schema_of


def shape(value):
    return schema_of(json.dumps(value).encode())


def test_an_object_is_described_with_what_is_required():
    assert shape({"value": 1, "unit": "C"}) == {
        "type": ["object"],
        "properties": {"unit": {"type": ["string"]}, "value": {"type": ["integer"]}},
        "required": ["unit", "value"],
    }


def test_what_was_missing_once_is_not_required_any_more():
    found = merged(shape({"value": 1, "unit": "C"}), shape({"value": 2}))

    assert found["required"] == ["value"]
    assert sorted(found["properties"]) == ["unit", "value"]


def test_types_are_added_and_whole_numbers_become_numbers():
    found = merged(shape({"value": 1}), merged(shape({"value": 1.5}), shape({"value": None})))

    assert found["properties"]["value"]["type"] == ["null", "number"]


@pytest.mark.parametrize(
    ("one", "other"), [({"a": 1}, [1]), ({"a": 1}, {"a": {"b": 2}}), ([1], ["x"]), ("x", {"a": 1}), ([], [1])]
)
def test_the_order_of_merging_does_not_matter(one, other):
    assert merged(shape(one), shape(other)) == merged(shape(other), shape(one))


def test_merging_the_same_changes_nothing():
    one = shape({"a": [1, {"b": None}], "c": {"d": "x"}})

    assert merged(one, one) == one


@pytest.mark.parametrize(
    "payload", [b"", b"on", b"{", b"\xff\xfe", b"[" * 100_000, b'"' + b"x" * 70_000 + b'"']
)
def test_what_is_not_json_or_too_large_has_no_schema(payload):
    assert schema_of(payload) is None


def test_random_keys_do_not_fill_the_database():
    found = shape({"key-0": 0})
    for number in range(1000):
        found = merged(found, shape({f"key-{number}": number}))

    assert found == {"type": ["object"]}


def test_depth_is_bounded():
    value = 1
    for _ in range(50):
        value = {"a": value}

    assert len(json.dumps(shape(value))) < 1000


def test_names_that_a_database_cannot_hold_are_replaced():
    found = schema_of(b'{"a\\u0000b": 1, "\\ud800": 2}')

    assert "\\u0000" not in json.dumps(found)
    assert "\\ud800" not in json.dumps(found)
