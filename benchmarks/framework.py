"""What every benchmark shares: the result record, the table, percentiles, and running one by name.

A figure alone says little on a shared machine, so a result carries the peer's (or the limit's) value
from the same run as `reference`, and `ratio` = value / reference.
"""

import importlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from iotistic.kernel.logging import LogSettings, configure_logging

QUICK_BUDGET_S = 40.0
FULL_BUDGET_S = 900.0


@dataclass(frozen=True)
class Goal:
    """A bound on a result's value or on its ratio to the reference."""

    bound: float
    sense: Literal[">=", "<="]
    of: Literal["value", "ratio"] = "value"

    def __str__(self) -> str:
        return f"{self.of} {self.sense} {self.bound:g}"

    def met_by(self, value: float, ratio: float | None) -> bool:
        """Say whether the goal is reached; a missing ratio or a NaN never reaches one."""
        measured = value if self.of == "value" else ratio
        if measured is None or math.isnan(measured):
            return False
        return measured >= self.bound if self.sense == ">=" else measured <= self.bound


def at_least(bound: float, of: Literal["value", "ratio"] = "value") -> Goal:
    """Goal: the value (or ratio) reaches `bound`."""
    return Goal(bound, ">=", of)


def at_most(bound: float, of: Literal["value", "ratio"] = "value") -> Goal:
    """Goal: the value (or ratio) stays at or below `bound`."""
    return Goal(bound, "<=", of)


@dataclass(frozen=True)
class Result:
    """One figure. `reference` is the peer's or the limit's value in the same run, in the same unit."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None


@dataclass
class Report:
    """Collects the results of one benchmark and tells what is going on while it runs."""

    quick: bool = False
    pages: Path | None = None
    """Folder for pages that show what was measured; of the benchmarks that write any."""
    plateaus: bool = False
    """Whether to measure beside each constant as well."""
    tables: list[Table] = field(default_factory=list)
    """Tables to be printed after the results."""
    console: Console = field(default_factory=lambda: Console(stderr=True))
    results: list[Result] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(
        self, name: str, value: float, unit: str, *, reference: float | None = None, goal: Goal | None = None
    ) -> Result:
        """Record a figure; the ratio and whether the goal is met follow from it."""
        ratio = value / reference if reference else None
        result = Result(
            name,
            value,
            unit,
            reference,
            ratio,
            str(goal) if goal else None,
            goal.met_by(value, ratio) if goal else None,
        )
        self.results.append(result)
        self.progress(f"{name}: {_figure(value)} {unit}")
        return result

    def progress(self, text: str) -> None:
        """Print one line of progress with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.started:6.1f} s[/dim]  {text}", highlight=False)

    @property
    def remaining_s(self) -> float:
        """Seconds left of the budget: 40 s when quick."""
        budget = QUICK_BUDGET_S if self.quick else FULL_BUDGET_S
        return max(0.0, budget - (time.monotonic() - self.started))

    def table(self) -> Table:
        """Return the results as a table."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("name", "value", "unit", "reference", "ratio", "goal", "met"):
            table.add_column(column, justify="right" if column in {"value", "reference", "ratio"} else "left")
        for result in self.results:
            met = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[result.met]
            reference = "" if result.reference is None else _figure(result.reference)
            ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
            table.add_row(
                result.name, _figure(result.value), result.unit, reference, ratio, result.goal or "", met
            )
        return table

    def write_json(self, path: Path) -> None:
        """Write the list of results; a NaN becomes null, so that every JSON reader takes the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                key: None if isinstance(item, float) and not math.isfinite(item) else item
                for key, item in row.items()
            }
            for row in map(asdict, self.results)
        ]
        path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile (0..100) of `values`, NaN when there are none."""
    if not len(values):
        return math.nan
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return float(ordered[min(len(ordered), max(1, rank)) - 1])


def benchmark_names() -> list[str]:
    """Return the names of the benchmarks in this folder: its modules that have a `run`."""
    modules = Path(__file__).parent.glob("*.py")
    return sorted(
        path.stem for path in modules if "\ndef run(quick: bool, " in path.read_text(encoding="utf-8")
    )


def writes_pages(name: str) -> bool:
    """Say whether a benchmark writes pages to look at: its module says so itself."""
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return "\nWRITES_PAGES = True" in text


def run_benchmark(
    name: str,
    *,
    quick: bool,
    json_path: Path | None = None,
    console: Console | None = None,
    pages: Path | None = None,
    plateaus: bool = False,
) -> Report:
    """Run `benchmarks/<name>.py`, print its table, write its JSON; raise KeyError for an unknown name.

    What was measured before a failure is printed and written all the same.
    """
    if name not in benchmark_names():
        raise KeyError(name)
    run: Callable[[bool, Report], None] = importlib.import_module(f"benchmarks.{name}").run
    configure_logging(LogSettings(log_level="warning"), process="bench")
    report = Report(quick=quick, pages=pages, plateaus=plateaus)
    out = console or _wide_console()
    try:
        run(quick, report)
    finally:
        out.print(f"\n[bold]{name}[/bold]" + (" (quick)" if quick else ""))
        out.print(str(describe_machine()), highlight=False, style="dim")
        out.print(report.table())
        for table in report.tables:
            out.print("", table, sep="\n")
        if json_path is not None:
            report.write_json(json_path)
    return report


def _wide_console() -> Console:
    """A table that goes into a file is not folded to the 80 columns of no terminal."""
    out = Console()
    return out if out.is_terminal else Console(width=140)


def _figure(value: float) -> str:
    """Render a figure with about three significant digits and thousands separators."""
    if not math.isfinite(value):
        return "-"
    magnitude = abs(value)
    return f"{value:,.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.3g}"
