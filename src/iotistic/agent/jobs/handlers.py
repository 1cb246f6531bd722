"""Programs that steps may run by name: files in one folder, which nobody but its owner can change.

Refused are: anything outside the folder, links on the way, what is not a regular executable file, and what
others than its owner could have written. The owner is root, or the account that the agent runs under.
"""

import os
import stat
from pathlib import Path

from iotistic.agent.jobs.errors import HandlerRefused

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def find_handler(root: Path | None, folder: str, name: str) -> Path:
    """Return a handler's path. Raises HandlerRefused."""
    if root is None:
        raise HandlerRefused("this device has no handlers", hint="set JOB_HANDLER_DIR on the device")
    try:
        path = root.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        raise HandlerRefused(f"JOB_HANDLER_DIR cannot be used: {exc}") from exc
    _check_folder(path)
    *inner, last = _parts(folder, name)
    for part in inner:
        path /= part
        _check_folder(path)
    path /= last
    _check_program(path)
    return path


def _parts(folder: str, name: str) -> list[str]:
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise HandlerRefused(f"{name!r} is no file name of a handler")
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    if folder.startswith("/") or ".." in parts or "\0" in folder:
        raise HandlerRefused(f"the path {folder!r} is not below JOB_HANDLER_DIR")
    return [*parts, name]


def _check_folder(path: Path) -> None:
    found = _status(path)
    if not stat.S_ISDIR(found.st_mode):
        raise HandlerRefused(f"{path} is not a folder, or only a link to one")
    _check_owner(path, found)


def _check_program(path: Path) -> None:
    found = _status(path)
    if not stat.S_ISREG(found.st_mode):
        raise HandlerRefused(f"{path} is not a regular file")
    _check_owner(path, found)
    if not found.st_mode & _EXECUTABLE:
        raise HandlerRefused(f"{path} is not executable", hint=f"chmod +x {path}")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_mode & _WRITABLE:
        raise HandlerRefused(f"{path} can be written by others than its owner", hint=f"chmod go-w {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise HandlerRefused(f"{path} belongs to the user {found.st_uid}, not to root or the agent's user")


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except (OSError, ValueError) as exc:
        raise HandlerRefused(f"{path} cannot be used: {exc}") from exc
