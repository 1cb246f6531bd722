"""Unix sockets below folders of any depth: the system allows a socket's path 107 bytes only.

A socket is therefore reached through an open descriptor of its folder, `/proc/self/fd/<fd>/<name>`.
"""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_path(path: Path) -> Generator[str]:
    """Yield a short path that means `path` while the block runs; raise OSError when the folder is missing."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listening_socket(path: Path) -> socket.socket:
    """Return a bound, not yet listening socket of mode 600, replacing what a killed process left behind."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode is set before the name exists, so that there is no instant at which others may connect.
        os.fchmod(listener.fileno(), 0o600)
        with short_path(path) as short:
            listener.bind(short)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def connected_socket(path: Path) -> socket.socket:
    """Return a socket connected to `path`; raise OSError (often FileNotFoundError, ConnectionRefusedError)."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.setblocking(False)
        with short_path(path) as short:
            client.connect(short)
    except BaseException:
        client.close()
        raise
    return client
