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
from iotistic.kernel.errors import NotFound, Unavailable

app = App(name="bench", help_format="plaintext")

_ROOT = Path(iotistic.__file__).parents[2]


class BenchmarksMissing(NotFound):
    """The benchmarks are part of the source tree, and this is an installed package."""

    code = "bench.missing"


class BenchmarkUnknown(NotFound):
    """There is no such benchmark."""

    code = "bench.unknown"


class BenchmarkStopped(Unavailable):
    """A benchmark did not come to its end."""

    code = "bench.stopped"


@app.default
def bench(
    name: str | None = None,
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    json: Path | None = None,
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
    """
    known = _names()
    if name is None:
        emit([{"benchmark": one} for one in known], json=False)
    elif name == "all":
        _run_all(known, quick=quick, json=json)
    elif name in known:
        _run(name, quick=quick, json=json)
    else:
        raise BenchmarkUnknown(f"there is no benchmark {name!r}", hint=f"known: {', '.join(known)}, all")


def _names() -> list[str]:
    if not (_ROOT / "benchmarks" / "framework.py").exists():
        raise BenchmarksMissing(hint="clone the repository and run `make bench` there")
    sys.path.insert(0, str(_ROOT))
    names: list[str] = importlib.import_module("benchmarks.framework").benchmark_names()
    return names


def _run(name: str, *, quick: bool, json: Path | None) -> None:
    """Run one in a process of its own, so that no benchmark inherits the state of another."""
    words = [sys.executable, "-m", "benchmarks", name]
    words += ["--quick"] if quick else []
    words += ["--json", str(json.absolute())] if json else []
    status = subprocess.run(words, cwd=_ROOT, check=False).returncode
    if status != 0:
        raise BenchmarkStopped(f"the benchmark {name} ended with status {status}", benchmark=name)


def _run_all(names: list[str], *, quick: bool, json: Path | None) -> None:
    results: list[object] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder) / f"{name}.json"
            _run(name, quick=quick, json=file)
            results += jsonlib.loads(file.read_bytes())
    if json:
        json.write_text(jsonlib.dumps(results, indent=2) + "\n", encoding="utf-8")
