"""Filters: what is understood becomes places in a fixed text, anything else is refused by its path."""

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.control.jobs.filters import Every, Field, FilterInvalid, Operator, Term, read_filter
from iotistic.control.jobs.model import OrderInvalid, Selection, TargetKind
from iotistic.control.jobs.selection import Statement, kept_selection, read_selection, write_selection

ODD = "x'; DROP TABLE fleet_devices; -- \" $1 \\ %s {0}"
SAFE = re.compile(r"[A-Za-z0-9_ .,:<>=()\[\]{}'$^|?~*+-]*")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.just(ODD)
TERMS = st.one_of(
    st.dictionaries(
        st.sampled_from(["name", "type", "fleet_id", "os_version"]), TEXTS | st.lists(TEXTS, min_size=1)
    ),
    st.dictionaries(
        st.just("name"),
        st.dictionaries(st.sampled_from(["eq", "ne", "starts_with", "contains"]), TEXTS, min_size=1),
    ),
    st.fixed_dictionaries(
        {"agent_version": st.fixed_dictionaries({"lt": st.sampled_from(["1", "v2.4.1", "0.0"])})}
    ),
    st.fixed_dictionaries({"tags": st.dictionaries(TEXTS, TEXTS | st.just({"exists": False}), min_size=1)}),
)
FILTERS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=8,
)


def compiled(asked):
    statement = Statement()
    selection = read_selection(TargetKind.GROUP, [], asked)
    return statement.selected(selection, None), statement.parameters


@given(FILTERS.filter(bool))
def test_no_word_of_a_filter_gets_into_the_statement(asked):
    sql, parameters = compiled(asked)

    assert SAFE.fullmatch(sql)
    assert "DROP" not in sql
    assert sorted(set(re.findall(r"\$(\d+)", sql)), key=int) == [str(n + 1) for n in range(len(parameters))]


@given(FILTERS.filter(bool))
def test_a_selection_is_kept_as_it_was_read(asked):
    selection = read_selection(TargetKind.GROUP, [], asked)

    assert kept_selection(write_selection(selection)) == selection


def test_values_alone_and_lists_are_read_as_equal_and_one_of():
    found = read_filter(
        {"device_type": "gateway", "fleet_id": ["a", "b"], "created_at": {"ge": "2026-05-17T10:00:00Z"}}
    )

    assert found == Every(
        (
            Term(Field.TYPE, Operator.EQ, "gateway"),
            Term(Field.FLEET_ID, Operator.IN, ["a", "b"]),
            Every((Term(Field.CREATED_AT, Operator.GE, datetime(2026, 5, 17, 10, tzinfo=UTC)),)),
        )
    )


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ([], ""),
        ({"nmae": "x"}, "nmae"),
        ({"name' OR 1=1": "x"}, "name' OR 1=1"),
        ({"name": {"like": "x"}}, "name.like"),
        ({"name": {"lt": "x"}}, "name.lt"),
        ({"name": {}}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"name": []}, "name"),
        ({"name": ["a", 5]}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"number": "5"}, "number"),
        ({"number": True}, "number"),
        ({"uuid": "x"}, "uuid"),
        ({"agent_version": {"lt": "1.x"}}, "agent_version.lt"),
        ({"agent_version": {"lt": "1.2.3.4.5"}}, "agent_version.lt"),
        ({"agent_version": {"lt": "٣.1"}}, "agent_version.lt"),
        ({"created_at": {"gt": "2026-05-17"}}, "created_at.gt"),
        ({"tags": "line"}, "tags"),
        ({"tags": {"line": {"exists": "yes"}}}, "tags.line.exists"),
        ({"tags": {"a\0": "x"}}, "tags.a\0"),
        ({"any": []}, "any"),
        ({"all": {"name": "x"}}, "all"),
        ({"any": [{"name": "x"}, {"x": 1}]}, "any[1].x"),
        ({"not": "x"}, "not"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_path(asked, path):
    with pytest.raises(FilterInvalid) as refused:
        read_filter(asked)

    assert f": {path}: " in refused.value.message or not path


def test_filters_have_bounds():
    deep = {"name": "x"}
    for _ in range(500):
        deep = {"not": deep}
    with pytest.raises(FilterInvalid, match="nested"):
        read_filter(deep)
    with pytest.raises(FilterInvalid, match="more than 100"):
        read_filter({"all": [{"any": [{"name": "x"}] * 20} for _ in range(6)]})
    with pytest.raises(FilterInvalid, match="1 to 1000"):
        read_filter({"name": ["x"] * 1001})


@pytest.mark.parametrize(
    ("kind", "devices", "asked"),
    [
        (TargetKind.DEVICE, [], None),
        (TargetKind.DEVICE, [UUID(int=1)], {"name": "x"}),
        (TargetKind.GROUP, [], None),
        (TargetKind.GROUP, [], {}),
        (TargetKind.GROUP, [UUID(int=1)], {"name": "x"}),
        (TargetKind.ALL, [], {"name": "x"}),
        (TargetKind.ALL, [UUID(int=1)], None),
    ],
)
def test_a_selection_that_contradicts_itself_is_refused(kind, devices, asked):
    with pytest.raises(OrderInvalid):
        read_selection(kind, devices, asked)


def test_a_filter_of_another_release_selects_nobody_rather_than_everybody():
    kept = {"kind": "group", "devices": [], "filter": {"moon_phase": "full"}}
    statement = Statement()

    assert statement.selected(kept_selection(kept), None).endswith("AND (true) IS NOT TRUE")
    assert Selection(kind=TargetKind.GROUP).filter is None
