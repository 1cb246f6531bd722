"""Files that are whole or absent: written beside their place, synced, then renamed into it."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


def write_atomic(
    path: Path, content: bytes | str, *, mode: int = PRIVATE, owner: tuple[int, int] | None = None
) -> None:
    """Replace `path` by `content` so that a reader or a power cut sees the old file or the new one.

    `owner` is a (uid, gid) pair, for files that an engine under another account reads.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_once(path: Path, content: bytes | str) -> None:
    """Make `path` with mode 600 unless it is there; of several who do at the same moment, the first one's stays."""
    if path.exists():
        return
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_atomic(made, content, mode=PRIVATE)
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(made)  # unlike a rename, it does not take the place of another's
    made.unlink()
    _sync_folder(path.parent)


def secret_file(path: Path, *, prefix: str = "") -> str:
    """Return the secret kept in `path`, making a random 256-bit one (mode 600) the first time."""
    if not path.exists():
        write_once(path, prefix + secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
