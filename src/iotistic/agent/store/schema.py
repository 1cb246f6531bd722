"""Brings the agent's database to the schema that the files describe.

The files are read by the same code as the cloud's; its runner is for PostgreSQL, and needs a driver that
does not exist for every device. A file and its row are committed together. A database that a newer agent
has worked with is used as it is: migrations only add.
"""

import sqlite3
import time
from pathlib import Path

import structlog

from iotistic.agent.store.errors import StoreSchemaUnusable
from iotistic.kernel.migrations.files import MigrationFile, read_folder

log = structlog.get_logger()

FOLDER = Path(__file__).parent / "migrations"
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        TEXT PRIMARY KEY,
    checksum    TEXT NOT NULL,
    applied_at  REAL NOT NULL
)"""


def migrate(connection: sqlite3.Connection, folder: Path = FOLDER) -> list[str]:
    """Apply what is pending, in order, and return the names. Raises StoreSchemaUnusable and sqlite3.Error."""
    files = read_folder(folder)
    connection.execute(_TABLE)
    applied = dict(connection.execute("SELECT name, checksum FROM schema_migrations"))
    changed = [file.name for file in files if applied.get(file.name, file.checksum) != file.checksum]
    if changed:
        raise StoreSchemaUnusable(
            f"migrations were changed after they were applied: {', '.join(changed)}",
            hint="install a released agent, or move the database away to start with a new one",
        )
    if newer := sorted(applied.keys() - {file.name for file in files}):
        log.warning("store.schema_newer", migrations=newer)
    pending = [file for file in files if file.name not in applied]
    for file in pending:
        _apply(connection, file)
    return [file.name for file in pending]


def _apply(connection: sqlite3.Connection, file: MigrationFile) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in file.statements():
            connection.execute(statement.text)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?)", (file.name, file.checksum, time.time())
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
