"""What a person gave a command and cannot be used, told in a sentence where it would end in a traceback.

Arguments need not be text, since names of files are whatever the disk has, and files may lie where nothing can be
read or written. Both are found out deep inside; so they are told here, at the edge, once for every command.
"""

import errno
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from iotistic.kernel.errors import Invalid, IotisticError, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class NotText(Invalid):
    """An argument is not text in UTF-8."""

    code = "usage.not_text"


class FileUnusable(Invalid):
    """A file or folder cannot be used."""

    code = "file.unusable"


class NoRoom(Unavailable):
    """The disk is full."""

    code = "file.no_room"


@contextmanager
def told(arguments: Sequence[str]) -> Generator[None]:
    """Raise NotText, FileUnusable or NoRoom for what went wrong because of these; all else as it is."""
    try:
        yield
    except IotisticError:
        raise
    except Exception as exc:
        check_text(arguments)
        if isinstance(exc, OSError) and exc.errno in _FULL:
            # Mostly said of a file that is open already, so without its name.
            raise NoRoom(hint="make room, or use a folder on another disk") from exc
        if isinstance(exc, OSError) and exc.filename is not None:
            raise FileUnusable(f"{str(exc.filename)[:200]}: {exc.strerror}") from exc
        raise


def check_text(arguments: Sequence[str]) -> None:
    """Return when all of them are text. Raises NotText."""
    if unreadable := [one for one in arguments if not _is_text(one)]:
        shown = unreadable[0].encode("utf-8", "backslashreplace").decode()
        raise NotText(f"{shown[:80]} is not text in UTF-8")


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
