"""`iotistic agent plan`: what would be done."""

import asyncio
from pathlib import Path

from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.planned import planned
from iotistic.entrypoints.agent.showing import show_plan
from iotistic.entrypoints.commands.options import AsJson


def plan(target: Path, *, engine: EngineKind | None = None, json: AsJson = False) -> None:
    """Say what would be done now to reach a target, and why; nothing is done.

    Parameters
    ----------
    target
        File with a target state (JSON).
    engine
        What runs containers (default: AGENT_ENGINE, or Docker when its socket is there).
    """
    show_plan(asyncio.run(planned(target, engine)), json=json)
