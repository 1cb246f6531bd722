"""What a benchmark reports."""

import io
import json
import math
import sys
from types import SimpleNamespace

import pytest
from benchmarks import framework
from benchmarks.framework import Report, at_least, at_most, percentile, run_benchmark
from rich.console import Console
from rich.table import Table

from iotistic.entrypoints.cli import main


@pytest.fixture
def report() -> Report:
    return Report(console=Console(file=io.StringIO()))


def test_ratio_and_goal_follow_from_the_value(report):
    kept = report.add("rate", 90, "msg/s", reference=100, goal=at_least(1.0, of="ratio"))
    reached = report.add("p99", 40, "ms", goal=at_most(50))

    assert (kept.ratio, kept.goal, kept.met) == (0.9, "ratio >= 1", False)
    assert (reached.ratio, reached.goal, reached.met) == (None, "value <= 50", True)


def test_a_figure_that_could_not_be_measured_meets_no_goal_and_is_null_in_json(report, tmp_path):
    report.add("p99", math.nan, "ms", goal=at_most(50))
    report.write_json(tmp_path / "figures.json")

    assert json.loads((tmp_path / "figures.json").read_text()) == [
        {
            "name": "p99",
            "value": None,
            "unit": "ms",
            "reference": None,
            "ratio": None,
            "goal": "value <= 50",
            "met": False,
        }
    ]


def test_percentiles_are_values_that_occurred():
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5], 99) == 5
    assert math.isnan(percentile([], 50))


def test_pages_are_refused_by_benchmarks_that_have_none_before_anything_runs(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "ingest", "--report", str(tmp_path / "pages")])

    assert ended.value.code == 2
    assert "with them: detection" in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_its_own_is_printed_after_the_results(monkeypatch):
    def run(_quick: bool, report: Report) -> None:
        report.tables.append(Table("standings"))

    monkeypatch.setitem(sys.modules, "benchmarks.detection", SimpleNamespace(run=run))
    monkeypatch.setattr(framework, "configure_logging", lambda *_, **__: None)
    out = Console(file=io.StringIO(), width=120)
    run_benchmark("detection", quick=True, console=out)

    text = out.file.getvalue()
    assert text.index("reference") < text.index("standings")
