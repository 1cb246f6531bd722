"""`iotistic agent`: keep this machine's containers equal to a target state in a file."""

import asyncio
import contextlib
import json as jsonlib
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import App, Parameter
from cyclopts.validators import Number

from iotistic.agent.reporting.services import describe_apps
from iotistic.entrypoints.agent.assembly import (
    Agent,
    AgentProcessSettings,
    EngineKind,
    choose_engine,
    open_agent,
)
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid
from iotistic.kernel.logging import configure_logging
from iotistic.kernel.settings import load_settings
from iotistic.planning.facts import Facts
from iotistic.planning.model import Target
from iotistic.planning.planner import plan as plan_steps
from iotistic.planning.steps import Noop, Step, name_of, subject_of
from iotistic.planning.target import read_target

log = structlog.get_logger()

app = App(name="agent", help_format="plaintext")

_LOOK_EVERY_S = 0.5
_SERVICE_COLUMNS = ("app", "service", "state", "status", "image", "container", "error")


class TargetInvalid(Invalid):
    """The target state cannot be understood."""

    code = "agent.target_invalid"


@app.command
def plan(target: Path, *, engine: EngineKind | None = None, json: AsJson = False) -> None:
    """Say what would be done now to reach a target, and why; nothing is done.

    Parameters
    ----------
    target
        File with a target state (JSON).
    engine
        What runs containers (default: AGENT_ENGINE, or Docker when its socket is there).
    """
    settings = load_settings(AgentProcessSettings, agent_engine=engine)
    steps = asyncio.run(_planned(settings, read_file(target)))
    emit(
        [_told(step) for step in steps],
        json=json,
        columns=("step", "subject", "why", "until"),
        empty="nothing is to be done",
    )


@app.command
def run(
    target: Path,
    *,
    engine: EngineKind | None = None,
    data: Path | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    within: Annotated[float, Parameter(validator=Number(gt=0))] = 300.0,
    json: AsJson = False,
) -> int:
    """Keep this machine's containers equal to a target state, until Ctrl-C. A changed file is taken up at once.

    Parameters
    ----------
    target
        File with a target state (JSON).
    engine
        What runs containers (default: AGENT_ENGINE, or Docker when its socket is there).
    data
        Folder of the agent's database (default: agent/ in IOTISTIC_HOME).
    once
        End as soon as nothing is left to be done; status 1 when something could not be done.
    within
        Seconds that --once waits at most.
    """
    settings = load_settings(AgentProcessSettings, agent_engine=engine)
    configure_logging(settings, process="agent")
    wanted = read_file(target)
    return asyncio.run(
        _run(settings, data or settings.data, target, wanted, within if once else None, json=json)
    )


def read_file(path: Path) -> Target:
    """Read a target state from a file. Raises TargetInvalid with every fault."""
    try:
        document: object = jsonlib.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise TargetInvalid(f"{path} cannot be read: {exc}") from exc
    target, faults = read_target(document)
    if faults:
        raise TargetInvalid(
            f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}\n  "
            + "\n  ".join(map(str, faults[:50])),
            faults=[fault._asdict() for fault in faults],
        )
    return target


async def _planned(settings: AgentProcessSettings, target: Target) -> list[Step]:
    engine = choose_engine(settings)
    try:
        current = await engine.observe()
    finally:
        await engine.close()
    return plan_steps(current, target, Facts(now=time.time(), shares_ports=engine.shares_ports))


async def _run(
    settings: AgentProcessSettings,
    data: Path,
    path: Path,
    wanted: Target,
    within_s: float | None,
    *,
    json: bool,
) -> int:
    async with open_agent(settings, data) as agent:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        agent.reconciler.declare(wanted)
        working = asyncio.create_task(agent.reconciler.run())
        waiting = _until_settled(agent, within_s) if within_s is not None else _follow_file(agent, path)
        beside = asyncio.create_task(waiting)
        ended = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((working, beside, ended), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, beside, ended):
                task.cancel()
            await asyncio.gather(working, beside, ended, return_exceptions=True)
        _show(agent, json=json)
        left = agent.reconciler.standing.steps
        return int(within_s is not None and (bool(left) or agent.reconciler.standing.settled_at is None))


async def _until_settled(agent: Agent, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while agent.reconciler.standing.settled_at is None:  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.05)


async def _follow_file(agent: Agent, path: Path) -> None:
    seen = _changed_at(path)
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        changed = _changed_at(path)
        if changed not in (None, seen):
            seen = changed
            _take(agent, path)


def _changed_at(path: Path) -> int | None:
    """Return when a file was changed; None while it is away, as editors have it for a moment."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _take(agent: Agent, path: Path) -> None:
    try:
        agent.reconciler.declare(read_file(path))
    except TargetInvalid as exc:
        log.warning("target.refused", reason=exc.message)
    else:
        log.info("target.declared", path=str(path))


def _show(agent: Agent, *, json: bool) -> None:
    standing = agent.reconciler.standing
    facts = agent.record.facts(time.time(), locked=(), disk_is_full=False, shares_ports=False)
    apps = describe_apps(agent.reconciler.target, standing.current, facts)
    if json:
        emit({"apps": apps, "steps": [_told(step) for step in standing.steps]}, json=True)
        return
    rows = [
        {
            "app": described["appName"],
            "service": service["serviceName"],
            "state": service.get("state", "to go"),
            "status": service["status"],
            "image": service["imageName"],
            "container": service.get("containerId", "")[:12],
            "error": service.get("error", {}).get("message", ""),
        }
        for described in apps.values()
        for service in described["services"]
    ]
    emit(rows, json=False, columns=_SERVICE_COLUMNS, empty="no services")
    for step in standing.steps:
        told = _told(step)
        emit(f"{told['step']} {told['subject']}: {told['why']}", json=False)


def _told(step: Step) -> dict[str, object]:
    if isinstance(step, Noop):
        until = None if step.until is None else datetime.fromtimestamp(step.until, UTC)
        return {"step": name_of(step), "subject": step.subject, "why": step.why, "until": until}
    return {"step": name_of(step), "subject": subject_of(step), "why": step.why, "until": None}
