"""Run the command line as `python -m iotistic`, which is how `up` starts its own child processes."""

from iotistic.entrypoints.cli import main

main()
