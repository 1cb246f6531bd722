"""Plots: nothing that stands out is lost, and what comes out can be read by any browser."""

import math
import random
import xml.etree.ElementTree as ET

import pytest
from benchmarks.plots import Chart, Panel, short, thin, ticks
from hypothesis import given
from hypothesis import strategies as st

GARBAGE = "<script>alert(\"x\")</script> & 'ü' ]]>"


def test_thinning_keeps_the_highest_and_lowest_value_and_both_ends():
    chance = random.Random(1)
    values = [chance.gauss(0, 1) for _ in range(50_000)]
    values[31_007], values[31_008] = 99.0, -99.0

    kept = thin(values, 300)

    assert len(kept) <= 602
    assert (31_007, 99.0) in kept
    assert (31_008, -99.0) in kept
    assert (kept[0], kept[-1]) == ((0, values[0]), (49_999, values[-1]))


@given(
    st.lists(st.floats(), max_size=200),
    st.integers(min_value=1, max_value=20),
    st.integers(min_value=0, max_value=1000),
)
def test_thinned_rows_are_rows_of_the_series_in_their_order(values, columns, first):
    kept = thin(values, columns, first)
    finite = [value for value in values if math.isfinite(value)]

    assert all(values[row - first] == value for row, value in kept)
    assert [row for row, _ in kept] == sorted({row for row, _ in kept})
    assert {min(finite, default=None), max(finite, default=None)} - {None} <= {value for _, value in kept}


def test_few_values_are_drawn_as_they_are():
    assert thin([3.0, 1.0, 2.0], 100, first=7) == [(7, 3.0), (8, 1.0), (9, 2.0)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2.5, 5, 7.5, 10]), (0.013, 0.044, [0.02, 0.03, 0.04]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_an_axis_is_labelled_at_round_numbers(low, high, expected):
    assert ticks(low, high, 4) == pytest.approx(expected)


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(1, 12))
def test_labels_of_an_axis_lie_on_it(low, extent, about):
    high = low + extent
    found = ticks(low, high, about)

    assert 1 <= len(found) <= 2 * about + 2
    assert all(
        low - extent * 1e-3 - abs(low) * 1e-9 <= one <= high + extent * 1e-3 + abs(low) * 1e-9
        for one in found
    )


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        (0, 100, "0"),
        (39_197, 0, "39.2k"),
        (1.5e9, 0, "1.5G"),
        (0.055, 0, "0.055"),
        (0.00002, 0, "2e-05"),
        (12, 2, "12"),
        (0.25, 0.25, "0.25"),
        (-566.8, 0, "-566.8"),
    ],
)
def test_numbers_are_written_short(value, step, expected):
    assert short(value, step) == expected


def test_a_constant_lies_in_the_middle_of_its_panel():
    assert Panel("flat", 5.0, 5.0, height=100).y(5.0) == 50.0
    assert Panel("nought", 0.0, 0.0, height=100).y(0.0) == 50.0


def test_the_axis_of_roots_gives_small_values_room():
    panel = Panel("score", 0.0, 1.0, height=100, scale="root")

    assert panel.y(0.25) == 50.0
    assert panel.y(2.0) == 0.0


def test_a_drawing_is_well_formed_whatever_its_titles_are():
    panel = Panel(GARBAGE, 0.0, 1.0)
    chart = Chart(0, 100, [panel], lambda _row: GARBAGE)
    chart.line(panel, [(0, 0.0), (100, 1.0)], "signal")
    chart.band(panel, [(0, 0.0), (100, 0.1)], [(0, 0.5), (100, 0.6)], "expected")
    chart.span(panel, -10, 20, "window", GARBAGE)
    chart.level(panel, 0.3, "threshold", GARBAGE)
    chart.mark(panel, 50, 0.5, "wrong", GARBAGE)

    root = ET.fromstring(chart.svg(GARBAGE))

    texts = ["".join(one.itertext()) for one in root.iter() if one.tag.endswith(("}title", "}text"))]
    assert texts.count(GARBAGE) >= 5
    assert not [one for one in root.iter() if "script" in one.tag]


def test_what_lies_beside_the_chart_is_not_drawn():
    panel = Panel("signal", 0.0, 1.0)
    chart = Chart(100, 200, [panel])
    chart.span(panel, 0, 50, "window", "before it")

    assert panel.marks == []
