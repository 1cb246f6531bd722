"""What a person gave a command and cannot be used, told in a sentence where it would end in a traceback.

Arguments need not be text, since names of files are whatever the disk has, and files may lie where nothing can be
read or written. Both are found out deep inside; so they are told here, at the edge, once for every command.
"""

import errno
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from iotistic.kernel.errors import Invalid, IotisticError

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Said of a file that is open already, so without its name."""


class NotText(Invalid):
    """An argument is not text in UTF-8."""

    code = "usage.not_text"


class FileUnusable(Invalid):
    """A file or folder cannot be used."""

    code = "file.unusable"


@contextmanager
def told(arguments: Sequence[str]) -> Generator[None]:
    """Raise NotText or FileUnusable for what went wrong because of such an argument or file; all else as it is."""
    try:
        yield
    except IotisticError:
        raise
    except Exception as exc:
        if unreadable := [one for one in arguments if not _is_text(one)]:
            shown = unreadable[0].encode("utf-8", "backslashreplace").decode()
            raise NotText(f"{shown[:80]} is not text in UTF-8") from exc
        if isinstance(exc, OSError) and (exc.filename is not None or exc.errno in _OF_THE_DISK):
            named = f"{str(exc.filename)[:200]}: " if exc.filename is not None else ""
            raise FileUnusable(f"{named}{exc.strerror}") from exc
        raise


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
