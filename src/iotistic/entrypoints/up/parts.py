"""What `up` keeps running: an engine or one of our own processes, behind one small protocol."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from iotistic.kernel import logfiles
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import spawn, stop

_READY_WITHIN_S = 60.0
_PROBE_EVERY_S = 0.05


class PartFailed(Unavailable):
    """A part of the installation did not start."""

    code = "up.part_failed"


class Part(Protocol):
    """Something that is started, runs until it is stopped or dies, and can be started again."""

    @property
    def name(self) -> str:
        """Short name, as in the log file's."""
        ...

    @property
    def log(self) -> Path:
        """Where it writes."""
        ...

    async def start(self) -> None:
        """Start it and return when it is ready; raise PartFailed when it ends before."""
        ...

    async def wait(self) -> int:
        """Return its exit status once it has ended."""
        ...

    async def stop(self) -> None:
        """End it in an orderly way."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@dataclass
class OwnProcess:
    """A `python -m iotistic ...` child."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    health_url: str | None = None
    stop_within_s: float = 15.0
    on_ready: Callable[[], Awaitable[None]] | None = None
    """What must happen each time it has become ready, before it counts as started."""
    _child: asyncio.subprocess.Process | None = field(default=None, init=False)
    _log_from: int = field(default=0, init=False)

    async def start(self) -> None:
        """Start the process and wait until its readiness probe says yes."""
        logfiles.rotate(self.log)
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with logfiles.open_log(self.log) as output:
            self._child = await spawn(
                [sys.executable, "-m", "iotistic", *self.arguments],
                env=_merged(self.environment),
                stdout=output,
                stderr=output,
            )
        await self._until_ready(self._child)
        if self.on_ready is not None:
            await self.on_ready()

    async def _until_ready(self, child: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not await self.ready():
            if child.returncode is not None:
                raise self._failure(f"ended with status {child.returncode} while starting")
            if time.monotonic() > deadline:
                await self.stop()
                raise self._failure(f"was not ready within {_READY_WITHIN_S:.0f} s")
            await asyncio.sleep(_PROBE_EVERY_S)

    def _failure(self, what: str) -> PartFailed:
        last = logfiles.tail(self.log, since=self._log_from)
        return PartFailed(f"{self.name} {what}:\n{last}", hint=f"the whole log is {self.log}")

    async def wait(self) -> int:
        """Return the exit status once the process has ended."""
        return await self._child.wait() if self._child else 0

    async def finish(self) -> None:
        """Wait for a process that ends by itself; raise PartFailed when it did not end well."""
        status = await self.wait()
        if status != 0:
            raise self._failure(f"ended with status {status}")

    async def stop(self) -> None:
        """Ask it to end; it drains first."""
        if self._child is not None:
            await stop(self._child, within_s=self.stop_within_s)

    def kill(self) -> None:
        """End it at once."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()


def _merged(environment: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with `environment` on top; a secret given as a file replaces a plain one."""
    replaced = {name.removesuffix("_FILE") for name in environment}
    kept = {name: value for name, value in os.environ.items() if name not in replaced}
    return kept | dict(environment)
