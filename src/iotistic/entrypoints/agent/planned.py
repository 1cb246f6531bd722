"""What an agent would do now to reach a target; it touches nothing."""

import time
from pathlib import Path

from iotistic.entrypoints.agent.engine_choice import choose_engine
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.agent.target_file import read_file
from iotistic.kernel.settings import load_settings
from iotistic.planning.facts import Facts
from iotistic.planning.planner import plan
from iotistic.planning.steps import Step


async def planned(path: Path, kind: EngineKind | None) -> list[Step]:
    """Return the steps towards the target in a file. Raises TargetInvalid and what engines raise."""
    settings = load_settings(AgentProcessSettings, agent_engine=kind)
    target = read_file(path)
    engine = choose_engine(settings, settings.data)
    try:
        current = await engine.observe()
    finally:
        await engine.close()
    return plan(current, target, Facts(now=time.time(), shares_ports=engine.shares_ports))
