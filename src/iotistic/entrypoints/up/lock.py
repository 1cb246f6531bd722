"""One `up` per home: an advisory lock that the kernel drops with the process, however it ends."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager

from iotistic.entrypoints.installation import lock_path
from iotistic.kernel.errors import Conflict
from iotistic.kernel.home import Home


class AlreadyRunning(Conflict):
    """This home is already in use by a running installation."""

    code = "up.already_running"


@contextmanager
def held(home: Home) -> Generator[None]:
    """Hold the home; raise AlreadyRunning with the holder's process id when another has it."""
    descriptor = os.open(lock_path(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
            raise AlreadyRunning(
                f"an installation is already running in {home.path} (process {holder})",
                hint=f"see `iotistic status`; stop it with `kill {holder}`, or set another IOTISTIC_HOME",
                pid=holder,
            ) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
