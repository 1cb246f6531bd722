"""One agent until it is told to end."""

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

import structlog

from iotistic.agent.updating.launching import launch
from iotistic.entrypoints.agent.assembly import Agent
from iotistic.entrypoints.agent.opening import open_process
from iotistic.entrypoints.agent.process import AgentProcess
from iotistic.entrypoints.agent.role import Role, become
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.agent.target_file import TargetInvalid, changed_at, read_file
from iotistic.entrypoints.catalogue import version
from iotistic.kernel.logging import configure_logging
from iotistic.planning.model import Target

log = structlog.get_logger()

_LOOK_EVERY_S = 0.5
_CLEAN_UP_WITHIN_S = 25.0


def run_agent(role: Role, settings: AgentProcessSettings) -> None:
    """Run an agent; ends the process with 1 when something could not be done in time."""
    configure_logging(settings, process="agent")
    if role.target is None:
        launch(role.data or settings.data, version(), role.arguments(), time.time())
    running = Running(settings, role)
    is_settled = asyncio.run(running.run(None if role.target is None else read_file(role.target)))
    if running.again.is_set():
        log.info("agent.restarting")
        become(role)
    if not is_settled:
        sys.exit(1)


class Running:
    """One run of an agent; `again` is set when somebody asked for another one."""

    def __init__(self, settings: AgentProcessSettings, role: Role) -> None:
        self._settings, self._role = settings, role
        self._stop = asyncio.Event()
        self.again = asyncio.Event()

    async def run(self, wanted: Target | None) -> bool:
        """Run until a signal, or until settled, where that has a time; False when there was more to be done."""
        role = self._role
        opened = open_process(
            self._settings,
            role.data or self._settings.data,
            follows_cloud=role.target is None,
            restart=self._restart,
        )
        async with opened as process:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
            if wanted is not None:
                process.declare(wanted)
            await self._work(process)
            if role.target is None:
                return True
            _show(process.agent, json=role.json)
            standing = process.agent.reconciler.standing
            return role.within_s is None or (not standing.steps and standing.settled_at is not None)

    async def _work(self, process: AgentProcess) -> None:
        working = asyncio.create_task(process.run())
        beside = asyncio.create_task(self._beside(process))
        ended = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((working, beside, ended), return_when=asyncio.FIRST_COMPLETED)
            for task in (working, beside):
                if task.done():
                    task.result()
            if self._role.cleans_up and not working.done():
                beside.cancel()  # a file that changes now is not worked on any more
                process.declare(Target())
                await _until_settled(process.agent, _CLEAN_UP_WITHIN_S)
        finally:
            for task in (working, beside, ended):
                task.cancel()
            await asyncio.gather(working, beside, ended, return_exceptions=True)

    async def _beside(self, process: AgentProcess) -> None:
        if self._role.within_s is not None:
            await _until_settled(process.agent, self._role.within_s)
        elif self._role.target is not None:
            await _follow_file(process, self._role.target)
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
    seen = changed_at(path)
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        changed = changed_at(path)
        if changed == seen:
            continue
        seen = changed
        if changed is not None:
            _take(process, path)
            continue
        await asyncio.sleep(_LOOK_EVERY_S)  # editors have it away for a moment
        if changed_at(path) is None:
            process.file_fault = f"{path} is not there any more; what it said last goes on"
            log.warning("target.lost", path=str(path))


def _take(process: AgentProcess, path: Path) -> None:
    try:
        process.declare(read_file(path))
    except TargetInvalid as exc:
        process.file_fault = exc.message
        log.warning("target.refused", reason=exc.message)
    else:
        process.file_fault = ""
        log.info("target.declared", path=str(path))


def _show(agent: Agent, *, json: bool) -> None:
    from iotistic.entrypoints.agent.showing import show  # noqa: PLC0415  tables take memory until the agent ends

    show(agent, json=json)
