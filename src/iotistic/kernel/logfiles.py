"""Log files of engines: appended to by a child process, kept below a size by us.

The child holds the file open, so it cannot be renamed away: its content is copied to `NAME.1` and the
file is cut to nothing, which an appending writer follows. Lines written between the two are lost; a
pipe through us would lose none, but would block the engine whenever we are slow.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import IO

MAX_BYTES = 16 * 1024 * 1024
KEPT = 3
_rotating = threading.Lock()


def open_log(path: Path) -> IO[bytes]:
    """Open `path` (mode 600) for appending, as the standard error of a child."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0)


def size(path: Path) -> int:
    """Return the bytes in `path`, 0 when there is no such file."""
    return path.stat().st_size if path.exists() else 0


def rotate(path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Move the content of `path` to `path.1` when it is above `max_bytes`; say whether it was.

    Older files move on to `.2` and so forth; `kept` of them stay.
    """
    # Two that see the same large file would otherwise move it on twice, the second time empty.
    with _rotating:
        if size(path) <= max_bytes:
            return False
        for number in range(kept - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
        return True


def tail(path: Path, *, since: int = 0, lines: int = 12) -> str:
    """Return the last `lines` lines of what was written after byte `since`."""
    try:
        with path.open("rb") as file:
            file.seek(since if since <= size(path) else 0)
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
