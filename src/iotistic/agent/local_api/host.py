"""The machine under the agent: restarted and switched off through systemd or `shutdown`, where the agent may."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from iotistic.agent.local_api.problems import NotPossible

log = structlog.get_logger()

_WITHIN_S = 20.0
_MOST_SAID = 300


class SystemHost:
    """One machine. `restart` ends the agent's process so that its supervisor starts another; None where none does."""

    def __init__(
        self,
        restart: Callable[[], None] | None = None,
        *,
        root: Path = Path("/"),
        is_privileged: Callable[[], bool] = lambda: os.geteuid() == 0,
        find: Callable[[str], str | None] = shutil.which,
    ) -> None:
        self._restart, self._root, self._is_privileged, self._find = restart, root, is_privileged, find

    async def reboot(self) -> None:
        """Restart the machine. Raises NotPossible."""
        await self._run(self._command("reboot", "-r"))

    async def shutdown(self) -> None:
        """Switch the machine off. Raises NotPossible."""
        await self._run(self._command("poweroff", "-h"))

    async def restart_agent(self) -> None:
        """Let another agent take the place of this one, once the answer is out. Raises NotPossible."""
        if self._restart is None:
            raise NotPossible(
                "nothing would start the agent again",
                hint="run it under systemd, or as a container that restarts",
            )
        log.warning("agent.restart_asked")
        asyncio.get_running_loop().call_later(0.2, self._restart)

    def _command(self, verb: str, flag: str) -> list[str]:
        if any((self._root / name).exists() for name in (".dockerenv", "run/.containerenv")):
            raise NotPossible("the agent runs in a container and cannot reach the machine's own system")
        if not self._is_privileged():
            raise NotPossible(
                "the agent is not root, and only root may do that", hint="run the agent as root"
            )
        systemctl = self._find("systemctl")
        if systemctl and (self._root / "run/systemd/system").is_dir():
            return [systemctl, verb]
        if found := self._find("shutdown"):
            return [found, flag, "now"]
        raise NotPossible("this machine has neither systemd nor `shutdown`")

    async def _run(self, command: Sequence[str]) -> None:
        log.warning("machine.end_asked", command=list(command))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_WITHIN_S):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NotPossible(f"`{command[0]}` did not answer within {_WITHIN_S:.0f} s") from None
        if process.returncode:
            raise NotPossible(said.decode(errors="replace").strip()[:_MOST_SAID] or f"`{command[0]}` failed")
