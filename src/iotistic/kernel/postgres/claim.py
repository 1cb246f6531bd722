"""Who runs the embedded server of a home, and where it listens.

    run/postgres.lock   held (flock) by the supervisor while it lives; holds its process id
    run/postgres.url    address of the running server, without password

The lock falls with its process, however that ends, so the address counts only while the lock is held.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from iotistic.kernel.errors import Conflict
from iotistic.kernel.files import secret_file, write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.dsn import Dsn

# Whoever only asks whether the lock is held takes it for an instant.
_PATIENCE_S = 0.3
_POLL_S = 0.02


class PostgresRunning(Conflict):
    """The database of this installation already runs under another process."""

    code = "postgres.already_running"


class Claim:
    """The right to run the server of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Take it, unless held already by us. Raises PostgresRunning when another process has it."""
        if self._lock is not None:
            return
        lock = _lock_path(self._home).open("a+", encoding="ascii")
        give_up_at = time.monotonic() + _PATIENCE_S
        while not _locked(lock, fcntl.LOCK_EX):
            if time.monotonic() > give_up_at:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                lock.close()
                raise PostgresRunning(
                    f"the database of {self._home.path} already runs under process {holder}",
                    hint="stop that one first, or choose another IOTISTIC_HOME",
                )
            time.sleep(_POLL_S)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def publish(self, dsn: Dsn) -> None:
        """Tell other processes of this home where the server listens."""
        write_atomic(_address_path(self._home), dsn.url + "\n")

    def release(self) -> None:
        """Give it up; the address is withdrawn first."""
        if self._lock is not None:
            _address_path(self._home).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


def password_of(home: Home) -> SecretStr:
    """Return the superuser's password of this home's server, made the first time."""
    return SecretStr(secret_file(home.secrets / "postgres-password"))


def running_dsn(home: Home) -> Dsn | None:
    """Return the address of the server that runs in `home`, with password, or None when none runs."""
    try:
        with _lock_path(home).open("r", encoding="ascii") as lock:
            if _locked(lock, fcntl.LOCK_SH):
                return None
        return Dsn(_address_path(home).read_text(encoding="utf-8").strip(), password_of(home))
    except FileNotFoundError:
        return None


def _lock_path(home: Home) -> Path:
    return home.run / "postgres.lock"


def _address_path(home: Home) -> Path:
    return home.run / "postgres.url"


def _locked(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
