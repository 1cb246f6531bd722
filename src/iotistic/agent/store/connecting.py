"""How the agent's file is opened: held exclusively, checked, migrated, and found to take writes."""

import os
import sqlite3
from pathlib import Path

from iotistic.agent.store.schema import migrate
from iotistic.kernel.files import PRIVATE

_CHECKED_UP_TO_BYTES = 16 * 2**20
"""Larger files are checked only after the process before did not close them: reading 16 MB takes a second."""
_PRAGMAS = (
    # What is written at once is a page: an append of 1.8 KB writes 4.0 KB with pages of 1 KB, 7.2 KB with 4 KB.
    "page_size = 1024",
    "wal_autocheckpoint = 4096",
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = OFF",
    "temp_store = MEMORY",
    "cache_size = -512",
)


def connect(path: Path | None) -> sqlite3.Connection:
    """Open a file, or a database in memory when there is none. Raises OSError and sqlite3.Error."""
    checked = path is not None and _is_to_be_checked(path)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
    connection = sqlite3.connect(
        path or ":memory:", timeout=1.0, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if checked:
            _check(connection)
        migrate(connection)
        connection.execute("BEGIN IMMEDIATE")  # says at once that the disk takes no writes
        connection.execute("UPDATE outbox_state SET id = 1 WHERE id = 1")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file that is not whole."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        fault = sqlite3.DatabaseError(said)
        fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise fault


def _is_to_be_checked(path: Path) -> bool:
    try:
        unclean = path.with_name(f"{path.name}-wal").exists()
        return unclean or path.stat().st_size <= _CHECKED_UP_TO_BYTES
    except OSError:
        return False
