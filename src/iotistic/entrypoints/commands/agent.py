"""`iotistic agent`: keep this machine's containers equal to a target state in a file.

What runs is a process of its own, which this one becomes: see entrypoints/agent/running.py.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.role import Role, become
from iotistic.entrypoints.agent.target_file import TargetInvalid
from iotistic.entrypoints.commands.options import AsJson

app = App(name="agent", help_format="plaintext")
app.command(
    "iotistic.entrypoints.commands.agent_plan:plan",
    name="plan",
    help="Say what would be done now to reach a target, and why; nothing is done.",
)
app.command(
    "iotistic.entrypoints.commands.agent_release:sign",
    name="sign-release",
    help="Describe and sign a release of the agent, for devices that update themselves.",
)


@app.command
def run(
    target: Path | None = None,
    *,
    engine: EngineKind | None = None,
    data: Path | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    within: Annotated[float, Parameter(validator=Number(gt=0))] = 300.0,
    clean_up: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> None:
    """Keep this machine's containers equal to a target state, until Ctrl-C.

    The target comes from the cloud that the device belongs to (CLOUD_API_ENDPOINT and PROVISIONING_KEY at the
    first start, or `iotctl provision`), or from a file, whose changes are taken up at once.

    Parameters
    ----------
    target
        File with a target state (JSON); the cloud is left alone then.
    engine
        What runs containers (default: AGENT_ENGINE, or Docker when its socket is there).
    data
        Folder of the agent's database (default: CONFIG_DIR, or agent/ in IOTISTIC_HOME).
    once
        End as soon as nothing is left to be done; status 1 when something could not be done. Needs a file.
    within
        Seconds that --once waits at most.
    clean_up
        Remove every service again at the end; volumes stay.
    """
    if once and target is None:
        raise TargetInvalid("--once needs a file with a target state")
    become(Role(target, engine, data, within if once else None, clean_up, json))
