"""The locks of apps, as files that both sides see.

    <root>/app-<id>/updates.lock     here          /tmp/iotistic/updates.lock     in the app's containers

Whoever makes the file first holds the lock; the app lets go by removing it. The agent's file appears whole
(a link to one that was written before), and says that an agent made it. Only one agent works on a device,
which its store sees to, so a file of an agent that this one did not make is of an agent that died.

What an app can do in its folder harms nobody but itself: no link of it is followed, nothing of it is read
but a few bytes of a plain file, and files of ours are written elsewhere.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import quote, unquote

import structlog

from iotistic.kernel.errors import Conflict, Unavailable

log = structlog.get_logger()

NAME = "updates.lock"
SEEN_AT = "/tmp/iotistic"  # noqa: S108  the app's side, in its own container
"""Where an app sees its folder."""
_PREFIX, _DIGEST_PREFIX = "app-", "digest-"
_MOST_NAME = 200
_MOST_BYTES = 1024
_MAKER = "iotistic-agent"
_OPEN_FOLDER = 0o1777
"""Every user of the app may lock; nobody but the owner removes what the agent made."""


class LockHeld(Conflict):
    """The app holds its lock and is not to be disturbed."""

    code = "reconcile.lock_held"


class LocksUnavailable(Unavailable):
    """The folder of locks cannot be used."""

    code = "reconcile.locks_unavailable"


class FileLocks:
    """The locks of one device's apps. `root` is best on a file system that does not outlive a reboot."""

    def __init__(self, root: Path) -> None:
        self._root, self._ours = root, root / ".agent"
        self._token = str(uuid.uuid4())
        self._apps: dict[str, str] = {}

    def folder(self, app_id: str) -> Path:
        """Return the folder that is mounted into the app's containers at SEEN_AT, and make it.

        Raises LocksUnavailable.
        """
        name = _name(app_id)
        self._apps[name] = app_id
        folder = self._root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(_OPEN_FOLDER)
        except OSError as exc:
            raise LocksUnavailable(f"{folder}: {exc.strerror}") from exc
        return folder

    async def take(self, app_id: str, *, force: bool = False) -> None:
        """Take an app's lock; with `force` whatever the app holds is removed. Raises LockHeld and LocksUnavailable."""
        await asyncio.to_thread(self._take, app_id, force=force)

    async def release(self, app_id: str) -> None:
        """Give it back; a lock that the app holds stays. Raises LocksUnavailable."""
        await asyncio.to_thread(self._release, app_id)

    async def regain(self, held: Iterable[str]) -> set[str]:
        """Begin where an agent that died left off: return which of its locks are held again.

        Locks of a dead agent that are not in `held` are given back; an app that took its own meanwhile keeps it.
        """
        return await asyncio.to_thread(self._regain, set(held))

    def locked(self) -> frozenset[str]:
        """Return the apps that hold their own lock now."""
        try:
            names = [entry.name for entry in os.scandir(self._root)]
        except OSError:
            return frozenset()
        apps = [app_id for name in names if (app_id := self._app_of(name)) is not None]
        return frozenset(app_id for app_id in apps if _maker(self._path(app_id)) == "")

    def _take(self, app_id: str, *, force: bool) -> None:
        lock = self.folder(app_id) / NAME
        try:
            whole = self._write_own(app_id)
            for _ in range(3):  # an app may take and release while we look
                with contextlib.suppress(FileExistsError):
                    os.link(whole, lock)
                    return
                maker = _maker(lock)
                if maker is None:
                    continue  # let go of meanwhile: what stands there now may be the app's
                if maker == self._token:
                    return
                if maker == "" and not force:
                    raise LockHeld(f"the app {app_id} holds its lock", hint="force does not honour it")
                log.info("lock.removed", app=app_id, forced=maker == "")
                _remove(lock)
        except OSError as exc:
            raise LocksUnavailable(f"{lock}: {exc.strerror}") from exc
        raise LockHeld(f"the app {app_id} takes its lock again and again")

    def _release(self, app_id: str) -> None:
        lock = self._path(app_id)
        try:
            if _maker(lock):
                _remove(lock)
        except OSError as exc:
            raise LocksUnavailable(f"{lock}: {exc.strerror}") from exc

    def _regain(self, held: set[str]) -> set[str]:
        regained: set[str] = set()
        for app_id in held:
            with contextlib.suppress(LockHeld, LocksUnavailable):
                self._take(app_id, force=False)
                regained.add(app_id)
        with contextlib.suppress(OSError, LocksUnavailable):
            for entry in os.scandir(self._root):
                app_id = self._app_of(entry.name)
                if app_id is not None and app_id not in held:
                    self._release(app_id)
        return regained

    def _write_own(self, app_id: str) -> Path:
        """Write what the lock is to say, where no app can reach it."""
        self._ours.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._ours / _name(app_id)
        path.unlink(missing_ok=True)
        path.write_text(json.dumps({"made_by": _MAKER, "token": self._token, "pid": os.getpid()}) + "\n")
        path.chmod(0o644)
        return path

    def _path(self, app_id: str) -> Path:
        return self._root / _name(app_id) / NAME

    def _app_of(self, name: str) -> str | None:
        if name.startswith(_PREFIX):
            return unquote(name.removeprefix(_PREFIX))
        return self._apps.get(name)


def _name(app_id: str) -> str:
    """Return the name of an app's folder; ids are any texts."""
    quoted = quote(app_id, safe="", errors="surrogatepass")
    if len(quoted) <= _MOST_NAME:
        return _PREFIX + quoted
    return _DIGEST_PREFIX + hashlib.sha256(quoted.encode()).hexdigest()


def _maker(lock: Path) -> str | None:
    """Return the token of the agent that made a lock, "" for anybody else, None when there is none."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return "" if os.path.lexists(lock) else None
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        content = os.read(descriptor, _MOST_BYTES) if plain else b""
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return _token(content)


def _token(content: bytes) -> str:
    try:
        said: object = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    fields = cast("dict[str, object]", said)
    token = fields.get("token")
    return token if fields.get("made_by") == _MAKER and isinstance(token, str) else ""


def _remove(lock: Path) -> None:
    """Remove whatever stands there. Raises OSError."""
    try:
        lock.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not lock.is_dir() or lock.is_symlink():
            raise
        shutil.rmtree(lock)
