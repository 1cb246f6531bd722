"""Where an engine (PostgreSQL, Mosquitto) keeps its binaries, configuration and data.

That is `<home>/engines/<name>`, unless root runs us and the engines' account cannot walk to the home
folder (below `/root`, say). Opening the parents of a home folder is not ours to do, so such a home
gets a folder of its own below `/var/lib/iotistic`, found again by the random id kept in `<home>/id`.

Promises: the place never changes once it holds data, because another place would look like lost data;
a folder outside goes away at somebody's start once its home is gone, because removing the home starts
over, but not before seven days without use, because a home that was moved claims its folder again only
when it starts; a home that only is not mounted at the moment is not gone.
"""

import json
import os
import secrets
import shutil
import stat
import time
from pathlib import Path

from iotistic.kernel.errors import Conflict
from iotistic.kernel.files import PUBLIC, write_atomic
from iotistic.kernel.home import Home
from iotistic.kernel.process import Account

OUTSIDE = Path("/var/lib/iotistic")
_ENTER_ALL = stat.S_IXGRP | stat.S_IXOTH
_RECORD = "home.json"
_STAMP = "used"
_GRACE_S = 7 * 86_400


class EngineFolderUnusable(Conflict):
    """The engines' account cannot use the folder that holds the engine's data."""

    code = "engines.folder_unusable"


def engine_folder(home: Home, name: str, account: Account | None, *, outside: Path = OUTSIDE) -> Path:
    """Return the folder of the engine `name`, made with mode 700 and owned by `account` (None: by us).

    `outside` takes the engines of homes that the account cannot reach.
    Raises EngineFolderUnusable when existing data is out of the account's reach or belongs to another.
    """
    inside = home.engines / name
    if account is None:
        return _make(inside, account)
    root = home.path.resolve()
    kept = _existing_outside(root, outside)
    sweep(outside)  # after a moved home has claimed its folder again
    if kept is not None:
        _note_use(kept)
        return _make(kept / name, account)
    if _open_to(account, root):
        return _make(inside, account)
    if inside.is_dir() and any(inside.iterdir()):
        raise EngineFolderUnusable(
            f"{inside} holds data, but the account {account.name} cannot reach it any more",
            hint=f"let others enter the folders above it again, e.g. chmod o+x {root.parent}",
        )
    return _make(_new_outside(root, outside) / name, account)


def sweep(outside: Path = OUTSIDE) -> list[Path]:
    """Remove folders in `outside` unused for seven days whose home is gone or has another id; return them."""
    gone = [
        folder
        for folder in _recorded(outside)
        if _is_gone(folder) and _unused_s(folder) > _GRACE_S and not _in_use(folder)
    ]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def may_enter(account: Account, folder: Path) -> bool:
    """Say whether `account`, without further groups, may walk through `folder` itself."""
    found = folder.stat()
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _open_to(account: Account, root: Path) -> bool:
    """Say whether `account` can walk to `root`; a home that we own is opened for walking when needed."""
    if not all(may_enter(account, parent) for parent in root.parents):
        return False
    found = root.stat()
    if not may_enter(account, root) and found.st_uid == os.geteuid():
        root.chmod(stat.S_IMODE(found.st_mode) | _ENTER_ALL)
    return may_enter(account, root)


def _make(folder: Path, account: Account | None) -> Path:
    """Make the engine's folder and its parent, and check whose it is."""
    uid = account.uid if account else os.geteuid()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o711)
        folder.mkdir(mode=0o700)
        if account is not None:
            os.chown(folder, *account.owner)
    owner = folder.stat().st_uid
    if owner != uid:
        raise EngineFolderUnusable(
            f"{folder} belongs to user id {owner}, this installation would use {uid}",
            hint="start as the user that made this installation, or choose another IOTISTIC_HOME",
        )
    return folder


def _existing_outside(root: Path, outside: Path) -> Path | None:
    """Return the folder outside that this home made earlier; a moved home keeps its folder."""
    identity = _identity(root)
    folder = outside / identity if identity else None
    record = _read_record(folder) if folder else None
    if folder is None or record is None:
        return None
    recorded = Path(str(record.get("home")))
    if recorded != root:
        if _identity(recorded) == identity:  # this home is a copy of one that still stands
            (root / "id").unlink()
            return None
        _write_record(folder, root)
    return folder


def _new_outside(root: Path, outside: Path) -> Path:
    identity = secrets.token_hex(8)
    try:
        outside.mkdir(parents=True, exist_ok=True)
        outside.chmod(0o711)
        fresh = outside / f".{identity}"
        fresh.mkdir(mode=0o711)
    except OSError as exc:
        raise EngineFolderUnusable(
            f"neither {root} nor {outside} can hold the engines: {exc.strerror}",
            hint="choose an IOTISTIC_HOME that every user can walk to, such as /srv/iotistic",
        ) from exc
    _write_record(fresh, root)
    _note_use(fresh)
    write_atomic(root / "id", identity + "\n")
    return fresh.rename(outside / identity)


def _identity(root: Path) -> str | None:
    try:
        text = (root / "id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if text.isalnum() else None


def _write_record(folder: Path, root: Path) -> None:
    # The device number tells a removed home from one whose file system is not mounted.
    record = {"home": str(root), "device": root.stat().st_dev}
    write_atomic(folder / _RECORD, json.dumps(record) + "\n", mode=PUBLIC)


def _note_use(folder: Path) -> None:
    (folder / _STAMP).touch()


def _unused_s(folder: Path) -> float:
    """Return the seconds since the last start in `folder`; one from before stamps begins to count now."""
    try:
        return time.time() - (folder / _STAMP).stat().st_mtime
    except FileNotFoundError:
        _note_use(folder)
        return 0.0


def _read_record(folder: Path) -> dict[str, object] | None:
    try:
        return dict(json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _recorded(outside: Path) -> list[Path]:
    try:
        return [folder for folder in outside.iterdir() if not folder.name.startswith(".")]
    except OSError:
        return []


def _is_gone(folder: Path) -> bool:
    record = _read_record(folder)
    if record is None:
        return False
    root = Path(str(record.get("home")))
    if _identity(root) == folder.name:
        return False
    standing = next(path for path in (root, *root.parents) if path.exists())
    return standing.stat().st_dev == record.get("device")


def _in_use(folder: Path) -> bool:
    """Say whether a process works in there, such as an engine whose home was removed under it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            works_in = (entry / "cwd").readlink()
        except OSError:
            continue
        if works_in.is_relative_to(folder):
            return True
    return False
