"""`iotistic agent`: keep this machine's containers equal to a target state in a file."""

import asyncio
import contextlib
import json as jsonlib
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import App, Parameter
from cyclopts.validators import Number

from iotistic.agent.reporting.services import describe_apps
from iotistic.entrypoints.agent.assembly import Agent
from iotistic.entrypoints.agent.engine_choice import EngineKind, choose_engine
from iotistic.entrypoints.agent.process import AgentProcess, open_process
from iotistic.entrypoints.agent.settings import AgentProcessSettings
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
_CLEAN_UP_WITHIN_S = 25.0
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
    target: Path | None = None,
    *,
    engine: EngineKind | None = None,
    data: Path | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    within: Annotated[float, Parameter(validator=Number(gt=0))] = 300.0,
    clean_up: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> int:
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
    settings = load_settings(AgentProcessSettings, agent_engine=engine)
    configure_logging(settings, process="agent")
    if once and target is None:
        raise TargetInvalid("--once needs a file with a target state")
    running = Running(settings, data or settings.data, target, within_s=within if once else None)
    running.json, running.cleans_up = json, clean_up
    status = asyncio.run(running.run(None if target is None else read_file(target)))
    if running.again.is_set():
        log.info("agent.restarting")
        os.execv(sys.executable, [sys.executable, "-m", "iotistic", *sys.argv[1:]])  # noqa: S606  ourselves
    return status


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
    engine = choose_engine(settings, settings.data)
    try:
        current = await engine.observe()
    finally:
        await engine.close()
    return plan_steps(current, target, Facts(now=time.time(), shares_ports=engine.shares_ports))


class Running:
    """One run of an agent; `again` is set when somebody asked for another one."""

    def __init__(
        self, settings: AgentProcessSettings, data: Path, path: Path | None, *, within_s: float | None
    ) -> None:
        self._settings, self._data, self._path = settings, data, path
        self._within_s = within_s
        self._stop = asyncio.Event()
        self.again = asyncio.Event()
        self.json = self.cleans_up = False

    async def run(self, wanted: Target | None) -> int:
        """Run until a signal, or, with a time to settle within, until the device is settled."""
        opened = open_process(
            self._settings, self._data, follows_cloud=self._path is None, restart=self._restart
        )
        async with opened as process:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
            if wanted is not None:
                process.declare(wanted)
            await self._work(process)
            if self._path is None:
                return 0
            _show(process.agent, json=self.json)
            standing = process.agent.reconciler.standing
            return int(self._within_s is not None and (bool(standing.steps) or standing.settled_at is None))

    async def _work(self, process: AgentProcess) -> None:
        working = asyncio.create_task(process.run())
        beside = asyncio.create_task(self._beside(process))
        ended = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((working, beside, ended), return_when=asyncio.FIRST_COMPLETED)
            for task in (working, beside):
                if task.done():
                    task.result()
            if self.cleans_up and not working.done():
                process.agent.reconciler.declare(Target())
                await _until_settled(process.agent, _CLEAN_UP_WITHIN_S)
        finally:
            for task in (working, beside, ended):
                task.cancel()
            await asyncio.gather(working, beside, ended, return_exceptions=True)

    async def _beside(self, process: AgentProcess) -> None:
        if self._within_s is not None:
            await _until_settled(process.agent, self._within_s)
        elif self._path is not None:
            await _follow_file(process, self._path)
        else:
            await self._stop.wait()

    def _restart(self) -> None:
        self.again.set()
        self._stop.set()


async def _until_settled(agent: Agent, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while agent.reconciler.standing.settled_at is None:  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.05)


async def _follow_file(process: AgentProcess, path: Path) -> None:
    seen = _changed_at(path)
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        changed = _changed_at(path)
        if changed not in (None, seen):
            seen = changed
            _take(process, path)


def _changed_at(path: Path) -> int | None:
    """Return when a file was changed; None while it is away, as editors have it for a moment."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _take(process: AgentProcess, path: Path) -> None:
    try:
        process.declare(read_file(path))
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
