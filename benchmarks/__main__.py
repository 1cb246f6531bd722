"""Run benchmarks from the source tree: `python -m benchmarks NAME... [--quick] [--json FILE] [--report FOLDER] [--plateaus]`."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.framework import benchmark_names, run_benchmark, writes_pages


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=benchmark_names())
    parser.add_argument("--quick", action="store_true", help="end within 40 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write pages that show what was measured"
    )
    parser.add_argument("--plateaus", action="store_true", help="measure beside each constant too (minutes)")
    given = parser.parse_args()
    if (given.report or given.plateaus) and not writes_pages(given.name):
        parser.error(f"{given.name} writes no pages and has no plateaus: leave --report and --plateaus out")
    if given.report and given.report.exists() and not given.report.is_dir():
        parser.error(f"--report {given.report}: this is no folder")
    # Engines are children and homes are temporary folders: an end by signal cleans up too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    run_benchmark(
        given.name, quick=given.quick, json_path=given.json, pages=given.report, plateaus=given.plateaus
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
