"""What becomes of a database file that cannot be used: set aside, and what it still tells is copied over."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_ASIDE = ".corrupt-"
_MOST_ASIDE = 2
_SUFFIXES = ("-wal", "-journal", "-shm", "")
_TABLES = (
    "store_key",
    "device",
    "state_snapshots",
    "record",
    "endpoints",
    "sensor_outputs",
    "agent_metadata",
    "outbox_epochs",
    "outbox",
    "anomalies",
    "detector_states",
)
_WITHOUT_EPOCH = """
DELETE FROM outbox
WHERE id <= coalesce((SELECT min(before) FROM outbox_epochs), (SELECT max(id) FROM outbox))"""
"""Messages whose stamps are not known any more."""
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNKNOWN_FORMAT = "unsupported file format"
"""What SQLite says, under its code for errors in SQL, of a header whose number of the format is damaged."""
_PRIMARY = 0xFF


def is_corrupt(exc: sqlite3.Error) -> bool:
    """Say whether an error means that the file is not a whole database."""
    return _code(exc) in _CORRUPT or str(exc) == _UNKNOWN_FORMAT


def is_busy(exc: sqlite3.Error) -> bool:
    """Say whether an error means that another process holds the file."""
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_of_the_disk(exc: sqlite3.Error) -> bool:
    """Say whether an error means that the disk is full, read-only or failing, or the file cannot be opened."""
    return _code(exc) in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    )


def set_aside(path: Path) -> Path:
    """Move a database with its log out of the way and return where to; only the last two are kept.

    Raises OSError.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}{_ASIDE}{stamp}")
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    everything = sorted(path.parent.glob(f"{path.name}{_ASIDE}*Z"))
    for old in everything[:-_MOST_ASIDE]:
        for suffix in _SUFFIXES:
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return aside


def salvage(aside: Path, into: sqlite3.Connection) -> dict[str, int]:
    """Copy every row that can still be read, and return how many of each table.

    The outbox begins a new epoch after that: which numbers were taken is not certain any more. A table that
    there is no room for is left out, and those that matter most come first. Raises sqlite3.Error.
    """
    into.execute("UPDATE outbox_state SET is_open = 0")
    counts: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(aside, isolation_level=None)) as source:
        for table in _TABLES:
            with contextlib.suppress(sqlite3.Error), _transaction(into):
                counts[table] = _copy(source, into, table)
        with contextlib.suppress(sqlite3.Error), _transaction(into):
            for row in _rows(source, "SELECT floor, sent, dropped FROM outbox_state"):
                into.execute("UPDATE outbox_state SET floor = ?, sent = ?, dropped = ?", row)
    into.execute(_WITHOUT_EPOCH)
    return {table: count for table, count in counts.items() if count}


def copy_elsewhere(path: Path) -> Path:
    """Copy a database that cannot be written to a folder that can, and return its new place. Raises OSError."""
    elsewhere = Path(tempfile.mkdtemp(prefix="iotistic-store-")) / path.name
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        with contextlib.suppress(OSError):
            shutil.copyfile(source, elsewhere.with_name(elsewhere.name + suffix))
    return elsewhere


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> int:
    """Read from both ends, since nothing behind a broken page is found from one of them."""
    columns = [row[1] for row in into.execute(f"PRAGMA table_info({table})")]
    listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
    before = into.total_changes
    for direction in ("", "DESC"):
        query = f"SELECT {listed} FROM {table} ORDER BY {columns[0]} {direction}"  # noqa: S608  names of ours
        for row in _rows(source, query):
            with contextlib.suppress(sqlite3.IntegrityError):
                into.execute(f"INSERT OR IGNORE INTO {table} ({listed}) VALUES ({marks})", row)  # noqa: S608
    return into.total_changes - before


def _rows(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    try:
        rows = source.execute(query)
    except sqlite3.Error:
        return
    while True:
        try:
            row = rows.fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return
        if row is None:
            return
        yield row


def _code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
