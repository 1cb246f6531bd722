"""The socket file of the embedded server, beside its data: for processes of this machine.

A round trip over it costs each side a third of one over TCP, which loopback does packet by packet. It asks for the same
password, and its folder is closed to other accounts. TCP stays, for people and their tools.
"""

import os
import shutil
from pathlib import Path

from iotistic.kernel.process import Account

_LONGEST = 107  # bytes of a path that the kernel takes
_NAME = ".s.PGSQL.65535"
_NOT_IN_A_LIST = frozenset("'\",\\\n")  # the setting is a list of folders, in a file with quotes


def prepare(folder: Path, account: Account | None) -> Path | None:
    """Return the folder of the socket in the engine's `folder`, empty; None where no socket can be there.

    What a killed server left is removed: its lock would be believed if another process had its number by now. Call
    it when no server runs in this folder.
    """
    sockets = folder / "socket"
    path = str(sockets)
    if len(os.fsencode(sockets / _NAME)) > _LONGEST or not _NOT_IN_A_LIST.isdisjoint(path):
        return None
    # The folder above belongs to the engines' account, and we may be root: no link that it put here is followed.
    if sockets.is_dir() and not sockets.is_symlink():
        shutil.rmtree(sockets)
    else:
        sockets.unlink(missing_ok=True)
    sockets.mkdir(mode=0o700)
    if account is not None:
        os.chown(sockets, *account.owner, follow_symlinks=False)
    return sockets
