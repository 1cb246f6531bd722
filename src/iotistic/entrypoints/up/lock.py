"""One `up` per home: an advisory lock that the kernel drops with the process, however it ends."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager

from iotistic.entrypoints.installation import lock_path
from iotistic.kernel.errors import Conflict
from iotistic.kernel.home import Home

# Whoever only asks whether the lock is held takes it for an instant.
_PATIENCE_S = 0.3
_POLL_S = 0.02


class AlreadyRunning(Conflict):
    """This home is already in use by a running installation."""

    code = "up.already_running"


@contextmanager
def held(home: Home) -> Generator[None]:
    """Hold the home; raise AlreadyRunning with the holder's process id when another has it."""
    descriptor = os.open(lock_path(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
            raise AlreadyRunning(
                f"an installation is already running in {home.path} (process {holder})",
                hint=f"see `iotistic status`; stop it with `kill {holder}`, or set another IOTISTIC_HOME",
                pid=holder,
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(_POLL_S)
        else:
            return True
