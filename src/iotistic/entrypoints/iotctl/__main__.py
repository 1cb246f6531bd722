"""`python -m iotistic.entrypoints.iotctl`."""

from iotistic.entrypoints.iotctl.main import main

main()
