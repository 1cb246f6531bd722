"""Benchmarks: what the product promises in figures, each measured beside its peer in the same run.

`benchmarks/<name>.py` exposes `def run(quick: bool, report: Report) -> None`. Run one with
`iotistic bench NAME [--quick] [--json FILE]`, or `python -m benchmarks NAME` from the source tree.
"""
