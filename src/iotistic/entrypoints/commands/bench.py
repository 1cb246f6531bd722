"""`iotistic bench`: runs the benchmarks of the source tree."""

import importlib
import json as jsonlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import iotistic
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid, NotFound, Unavailable

app = App(name="bench", help_format="plaintext")

_ROOT = Path(iotistic.__file__).parents[2]


class BenchmarksMissing(NotFound):
    """The benchmarks are part of the source tree, and this is an installed package."""

    code = "bench.missing"


class BenchmarkUnknown(NotFound):
    """There is no such benchmark."""

    code = "bench.unknown"


class BenchmarkWithoutPages(Invalid):
    """This benchmark writes no pages, and has no constants to measure beside."""

    code = "bench.without_pages"


class BenchmarkStopped(Unavailable):
    """A benchmark did not come to its end."""

    code = "bench.stopped"


@app.default
def bench(
    name: str | None = None,
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    json: Path | None = None,
    report: Path | None = None,
    plateaus: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a benchmark, print its table, and write its results; without a name, list them.

    Parameters
    ----------
    name
        A benchmark, or `all`.
    quick
        End within 40 s.
    json
        File for the list of {name, value, unit, reference, ratio, goal, met}.
    report
        Folder for pages that show what was measured; `detection` writes them.
    plateaus
        Measure beside each constant too, which takes minutes; `detection` has some.
    """
    known = _names()
    if name is None:
        emit([{"benchmark": one} for one in known], json=False)
    elif name == "all":
        _run_all(known, quick=quick, json=json, report=report, plateaus=plateaus)
    elif name not in known:
        raise BenchmarkUnknown(f"there is no benchmark {name!r}", hint=f"known: {', '.join(known)}, all")
    elif (report or plateaus) and not _writes_pages(name):
        able = ", ".join(filter(_writes_pages, known))
        raise BenchmarkWithoutPages(
            f"{name} has neither pages nor plateaus",
            hint=f"leave --report and --plateaus out; with them: {able}",
        )
    else:
        _run(name, quick=quick, json=json, report=report, plateaus=plateaus)


def _names() -> list[str]:
    if not (_ROOT / "benchmarks" / "framework.py").exists():
        raise BenchmarksMissing(hint="clone the repository and run `make bench` there")
    sys.path.insert(0, str(_ROOT))
    names: list[str] = importlib.import_module("benchmarks.framework").benchmark_names()
    return names


def _writes_pages(name: str) -> bool:
    found: bool = importlib.import_module("benchmarks.framework").writes_pages(name)
    return found


def _run(name: str, *, quick: bool, json: Path | None, report: Path | None, plateaus: bool) -> None:
    """Run one in a process of its own, so that no benchmark inherits the state of another."""
    words = [sys.executable, "-m", "benchmarks", name]
    words += ["--quick"] if quick else []
    words += ["--json", str(json.absolute())] if json else []
    words += ["--report", str(report.absolute())] if report else []
    words += ["--plateaus"] if plateaus else []
    status = subprocess.run(words, cwd=_ROOT, check=False).returncode
    if status != 0:
        raise BenchmarkStopped(f"the benchmark {name} ended with status {status}", benchmark=name)


def _run_all(
    names: list[str], *, quick: bool, json: Path | None, report: Path | None, plateaus: bool
) -> None:
    results: list[object] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder) / f"{name}.json"
            pages = _writes_pages(name)
            _run(
                name,
                quick=quick,
                json=file,
                report=report / name if report and pages else None,
                plateaus=plateaus and pages,
            )
            results += jsonlib.loads(file.read_bytes())
    if json:
        json.write_text(jsonlib.dumps(results, indent=2) + "\n", encoding="utf-8")
