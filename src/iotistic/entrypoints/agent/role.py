"""How one agent is to run, as words of a command line and back."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from iotistic.agent.updating.launching import BASE, LAUNCHED
from iotistic.entrypoints.agent.engine_kind import EngineKind


@dataclass(frozen=True)
class Role:
    """How an agent is to run; the options of `iotistic agent run`."""

    target: Path | None = None
    engine: EngineKind | None = None
    data: Path | None = None
    within_s: float | None = None
    """How long it may take until the device is settled, where it ends then."""
    cleans_up: bool = False
    json: bool = False

    def arguments(self) -> list[str]:
        """Return the arguments that `main` reads this from."""
        found = [] if self.target is None else [f"--target={self.target}"]
        found += [] if self.engine is None else [f"--engine={self.engine}"]
        found += [] if self.data is None else [f"--data={self.data}"]
        found += [] if self.within_s is None else [f"--settle-within={self.within_s}"]
        found += ["--clean-up"] if self.cleans_up else []
        return found + (["--json"] if self.json else [])


def become(role: Role) -> NoReturn:
    """Make this process an agent with that role: it keeps its number, so that signals still reach it.

    It is the installed version that begins, and chooses: see agent/updating/launching.py.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {LAUNCHED, BASE}}
    python = os.environ.get(BASE, sys.executable)
    if not os.access(python, os.X_OK):
        python, environment = sys.executable, dict(os.environ)
    # -P: whatever lies in the folder that a person stands in is not taken for a module.
    words = [python, "-P", "-m", "iotistic", "agent-process", *role.arguments()]
    sys.stdout.flush()  # what was printed would be lost with the program
    os.execve(python, words, environment)  # noqa: S606  ourselves


def read_role(arguments: list[str]) -> Role:
    """Read what `Role.arguments` wrote, or a service manager."""
    parser = argparse.ArgumentParser(
        prog="iotistic agent-process", description="The agent of this device", allow_abbrev=False
    )
    parser.add_argument(
        "--target", type=Path, metavar="FILE", help="wanted is what stands there, not the cloud's"
    )
    parser.add_argument("--engine", type=EngineKind, choices=list(EngineKind), help="what runs containers")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the agent keeps its database")
    parser.add_argument("--settle-within", type=float, metavar="SECONDS", help="end as soon as all is done")
    parser.add_argument("--clean-up", action="store_true", help="remove every service at the end")
    parser.add_argument("--json", action="store_true", help="say how it stands at the end as JSON")
    given = parser.parse_args(arguments)
    return Role(given.target, given.engine, given.data, given.settle_within, given.clean_up, given.json)
