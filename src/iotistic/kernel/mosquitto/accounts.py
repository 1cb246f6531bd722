"""Accounts of the broker beside our own: files that others write, and that it takes over at its next start.

    accounts.passwords, accounts.acl   what is wanted, written while the broker runs
    accounts.in-force                  digest of what the running broker was started with
    ready                              the broker serves: a signal before that would fail its start
    restart                            somebody asks for a start, for a broker that is out of their sight

Mosquitto reads passwords and rules again at SIGHUP only, which crashes it later (docs/decisions/0003). So a
change is written here and the broker started anew; whoever wants to know whether one is in force compares.
"""

import hashlib
from pathlib import Path

from iotistic.kernel.files import write_atomic


class AccountFiles:
    """The files in the broker's folder; `owner` is the (uid, gid) of its account, None when that is ours."""

    def __init__(self, folder: Path, *, owner: tuple[int, int] | None) -> None:
        self._folder, self._owner = folder, owner
        self._passwords = folder / "accounts.passwords"
        self._acl = folder / "accounts.acl"
        self._in_force = folder / "accounts.in-force"
        self._ready = folder / "ready"
        self._restart = folder / "restart"

    @property
    def wanted(self) -> tuple[str, str]:
        """Lines of the password file and of the access rules; empty when nobody wrote any."""
        return _read(self._passwords), _read(self._acl)

    def want(self, passwords: str, acl: str) -> None:
        """Write what the next start takes over.

        The rules come last: names without rules may nothing, rules without names are nobody's.
        """
        if _read(self._passwords) != passwords:
            write_atomic(self._passwords, passwords, owner=self._owner)
        if _read(self._acl) != acl:
            write_atomic(self._acl, acl, owner=self._owner)

    def is_in_force(self, passwords: str, acl: str) -> bool:
        """Whether the broker was started with this; one that never was started has nothing in force."""
        return _read(self._in_force) == _digest(passwords, acl)

    def started_with(self, passwords: str, acl: str) -> None:
        """Note what the broker is started with; a wish for a start is fulfilled by that."""
        self._ready.unlink(missing_ok=True)
        write_atomic(self._in_force, _digest(passwords, acl), owner=self._owner)
        self._restart.unlink(missing_ok=True)

    def note_ready(self) -> None:
        """Note that the broker that was started serves."""
        write_atomic(self._ready, "", owner=self._owner)

    @property
    def is_ready(self) -> bool:
        """Whether the last start is over."""
        return self._ready.exists()

    def ask_restart(self) -> None:
        """Leave the wish for a start."""
        write_atomic(self._restart, "", owner=self._owner)

    @property
    def is_restart_asked(self) -> bool:
        """Whether somebody left the wish for a start since the last one."""
        return self._restart.exists()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _digest(passwords: str, acl: str) -> str:
    return hashlib.sha256(f"{passwords}\0{acl}".encode()).hexdigest()
