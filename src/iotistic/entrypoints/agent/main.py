"""`iotistic agent-process`: the agent of this device. What `iotistic agent run` becomes, and a service manager starts.

It rests for months beside the containers that the device is for, so nothing stays in its memory that only its
start or a person needs: command lines and tables (cyclopts, rich), what reads settings (pydantic), authorities
that it asks nobody about. tests/integration/agent/test_whole_agent.py holds it to that.
"""

import importlib
import sys

from iotistic.entrypoints.agent.reading import Reading
from iotistic.entrypoints.agent.role import read_role
from iotistic.entrypoints.lean import collecting_nothing, load_aiohttp_alone


def main() -> None:
    """Run an agent; ends the process with 1 when something could not be done in time."""
    role = read_role(sys.argv[1:])
    with collecting_nothing():
        load_aiohttp_alone()  # before there are two processes: both need it
    reading = Reading(role.engine)
    with collecting_nothing():
        # Not before: which kind of settings its modules have is decided by then.
        running = importlib.import_module("iotistic.entrypoints.agent.running")
    running.run_agent(role, reading.settings())
