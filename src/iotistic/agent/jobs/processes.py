"""One process of a step, in a session of its own, from its start until nothing of it is left.

Not asyncio's subprocesses: there the end of a process is told only once its pipes are closed (in some releases
of Python), and pipes that a child of it holds open cannot be closed. Here the pipes are ours, and the process
stays unreaped until its group was ended, so that its number cannot be another group's by then.

- What is left in the group when the process ends by itself is killed; what put itself into another session
  stays, and is read no longer.
- At a time-out or a cancellation everything is ended: the group by TERM, after a while by KILL, and what left
  the group by the mark that it carries.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable

import structlog

from iotistic.agent.jobs.commands import MARK, Command
from iotistic.agent.jobs.errors import ProgramUnusable
from iotistic.agent.jobs.leftovers import ProcessMark, end_leftovers, mark_of
from iotistic.agent.jobs.output import KeptOutput

log = structlog.get_logger()

_CHUNK = 65_536
_DRAIN_S = 1.0
_LOOK_S = 0.02

Started = Callable[[ProcessMark | None], Awaitable[None]]


async def run_process(
    command: Command, stdout: KeptOutput, stderr: KeptOutput, started: Started, *, grace_s: float
) -> int:
    """Run a process and return its exit status, negative for a signal. Cancelled, it ends the process first.

    `grace_s` is how long what is to end may take before it is killed. Raises ProgramUnusable.
    """
    process, drains = _begin(command, stdout, stderr)
    mark, ended = mark_of(process.pid), False
    try:
        await started(mark)
        await _exited(process.pid)
        ended = True
    finally:
        # Also what is cancelled again while it ends something leaves nothing behind.
        try:
            if not ended:
                await _end(process, mark, command.environment.get(MARK, ""), grace_s)
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            await _finish(process, drains)
    return process.returncode if process.returncode is not None else -signal.SIGKILL


class _Drain:
    """Reads one pipe to its end, as fast as the loop goes: a process that says more has to wait."""

    def __init__(self, kept: KeptOutput) -> None:
        self._kept, self._loop = kept, asyncio.get_running_loop()
        self.is_open, self.at_end = True, asyncio.Event()
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            self._kept.feed(chunk)
        else:
            self.close()

    def close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        self.close_writing()
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            self.at_end.set()


def _begin(
    command: Command, stdout: KeptOutput, stderr: KeptOutput
) -> tuple[subprocess.Popen[bytes], list[_Drain]]:
    drains: list[_Drain] = []
    account = command.account
    try:
        drains += [_Drain(stdout)]
        drains += [_Drain(stderr)]
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=drains[0].writing,
            stderr=drains[1].writing,
            cwd="/",
            env=dict(command.environment),
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else account.groups,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        for drain in drains:
            drain.close()
        raise ProgramUnusable(f"{command.words[0]} cannot be started: {exc}") from exc
    for drain in drains:
        drain.close_writing()
    return process, drains


async def _exited(pid: int) -> None:
    """Wait until a child ended, without reaping it."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):  # a kernel, or a build of Python, before Linux 5.3; no more files
        while not _has_ended(pid):  # noqa: ASYNC110  nothing tells us
            await asyncio.sleep(_LOOK_S)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _end(
    process: subprocess.Popen[bytes], mark: ProcessMark | None, token: str, grace_s: float
) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await _exited(process.pid)
    _signal_group(process.pid, signal.SIGKILL)
    strays = await asyncio.to_thread(end_leftovers, mark, token, grace_s=0.0)
    if strays:
        log.info("job.strays_ended", processes=strays)


async def _finish(process: subprocess.Popen[bytes], drains: list[_Drain]) -> None:
    """Read what is left in the pipes, and reap; a process that the kernel does not let go of is not waited for."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await _exited(process.pid)
                for drain in drains:
                    await drain.at_end.wait()
    finally:
        for drain in drains:
            drain.close()
        if process.poll() is None:
            log.warning("job.process_not_gone", pid=process.pid)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
