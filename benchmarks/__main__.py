"""Run benchmarks from the source tree: `python -m benchmarks NAME... [--quick] [--json FILE]`."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.framework import benchmark_names, run_benchmark


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=benchmark_names())
    parser.add_argument("--quick", action="store_true", help="end within 40 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    given = parser.parse_args()
    # Engines are children and homes are temporary folders: an end by signal cleans up too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    run_benchmark(given.name, quick=given.quick, json_path=given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
