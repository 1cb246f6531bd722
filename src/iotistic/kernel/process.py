"""Child processes that never outlive us, and the account that engines run under.

A child gets the parent-death signal from the kernel, so even `kill -9` of the parent leaves nothing
behind. PostgreSQL refuses to run as root, therefore root starts engines under a service account.
"""

import asyncio
import contextlib
import ctypes
import os
import pwd
import random
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_QUIET_PORTS = range(20_000, 32_000)
_TRIES = 20
_CHANCE = random.SystemRandom()
"""Of its own: processes that seed `random` alike would all look for ports in one order, and take each other's."""
_libc = ctypes.CDLL(None, use_errno=True)

SERVICE_ACCOUNT_NAME = "iotistic"


@dataclass(frozen=True)
class Account:
    """A user that engine processes run as."""

    name: str
    uid: int
    gid: int

    @property
    def owner(self) -> tuple[int, int]:
        """The (uid, gid) pair that file functions take."""
        return self.uid, self.gid


def service_account() -> Account | None:
    """Return the account engines run under when we are root, or None when we are not.

    The system user `iotistic` is made the first time; where that is not possible, `nobody` serves.
    """
    if os.geteuid() != 0:
        return None
    for attempt in ("find", "make"):
        if attempt == "make" and (useradd := shutil.which("useradd")):
            subprocess.run(
                [
                    useradd,
                    "--system",
                    "--no-create-home",
                    "--shell",
                    "/usr/sbin/nologin",
                    SERVICE_ACCOUNT_NAME,
                ],
                check=False,
                capture_output=True,
            )
        try:
            entry = pwd.getpwnam(SERVICE_ACCOUNT_NAME)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def raise_file_limit() -> int:
    """Raise the limit of open files to what the system allows; return it. Thousands of devices need it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def stand_back(by: int = 10) -> None:
    """Let other processes of this machine go first; where that is not allowed, it is not."""
    with contextlib.suppress(OSError):
        os.nice(by)


def die_with_parent(death_signal: int = signal.SIGTERM) -> Callable[[], None]:
    """Return a `preexec_fn` that makes the kernel send `death_signal` to the child when we die."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        # A terminal's Ctrl-C reaches the whole foreground group: children leave it, so that the parent
        # alone decides the order of stopping.
        os.setpgid(0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


async def spawn(
    argv: Sequence[str | Path],
    *,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    death_signal: int = signal.SIGTERM,
) -> asyncio.subprocess.Process:
    """Start a child that dies with us, under `account` when given.

    `env` replaces the environment when given. Call it from the main thread: the kernel ties the
    parent-death signal to the thread that started the child.
    """
    return await asyncio.create_subprocess_exec(
        *map(str, argv),
        env=dict(env) if env is not None else None,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=die_with_parent(death_signal),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


async def stop(
    child: asyncio.subprocess.Process, *, stop_signal: int = signal.SIGTERM, within_s: float = 10
) -> int:
    """Ask a child to stop, kill it when it has not after `within_s` seconds; return its exit status."""
    if child.returncode is None:
        child.send_signal(stop_signal)
        try:
            await asyncio.wait_for(child.wait(), within_s)
        except TimeoutError:
            child.kill()
    return await child.wait()


def pick_port(preferred: int, *, host: str = "127.0.0.1") -> int:
    """Return `preferred` when it can be bound on `host`, otherwise a free port.

    Free ones are looked for below the range that the system gives to outgoing connections: one of
    those could take the port while whatever listens on it is being restarted.
    """
    below_ephemeral = _CHANCE.sample(_QUIET_PORTS, _TRIES)
    for port in (preferred, *below_ephemeral, 0) if preferred else (*below_ephemeral, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")
