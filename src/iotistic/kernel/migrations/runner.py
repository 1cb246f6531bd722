"""Brings a database to the schema that the files describe, and tells how far it is.

Invariants:
- One runner at a time: a session advisory lock is held around reading and writing the table, and the
  lock falls with the connection. The second runner waits, then finds nothing to do.
- A file and its row in `schema_migrations` are committed together, or neither is.
- A file that was applied never changes: its checksum says so, by name.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import asyncpg

from iotistic.kernel.errors import Conflict, Invalid
from iotistic.kernel.migrations.files import MigrationFile, MigrationNotFound, find, read_folder
from iotistic.kernel.migrations.statements import Statement
from iotistic.kernel.postgres.pool import database_errors

_LOCK_KEY = 0x696F74_6D6967  # "iot" "mig"
_LOCK_TIMEOUT = "5s"
WAIT_S = 600.0
_TABLE = """
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)"""
_EXCERPT = 200


class MigrationChanged(Conflict):
    """A migration file was changed after it was applied."""

    code = "migrations.changed"


class MigrationFailed(Invalid):
    """A migration's statement was refused by the database."""

    code = "migrations.failed"


class MigrationLocked(Conflict):
    """Another process is migrating this database."""

    code = "migrations.locked"


class MigrationState(StrEnum):
    """What a migration's file and its row say together."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True)
class MigrationStatus:
    """One migration; the last two are None while it is pending."""

    name: str
    state: MigrationState
    applied_at: datetime | None = None
    duration_ms: int | None = None


@dataclass(frozen=True)
class MigrationReport:
    """What a run did: names applied now, and names in the table without a file (an older release's view)."""

    applied: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class _Row:
    checksum: str
    applied_at: datetime
    duration_ms: int


async def status(connection: asyncpg.Connection, folder: Path) -> list[MigrationStatus]:
    """Say of every file and every applied migration where it stands; changes nothing."""
    return _compare(read_folder(folder), await _rows(connection))


async def migrate(
    connection: asyncpg.Connection,
    folder: Path,
    *,
    progress: Callable[[str], None] | None = None,
    wait_s: float = WAIT_S,
) -> MigrationReport:
    """Apply what is pending, in order; stop at the first failure with what came before kept.

    Another process that migrates is waited for, up to `wait_s` seconds.
    `connection` should come from `open_connection`: one out of a pool gives up on long statements.
    Raises MigrationChanged, MigrationFailed, MigrationFileInvalid, MigrationLocked.
    """
    files = read_folder(folder)
    async with _exclusive(connection, wait_s):
        found = _compare(files, await _rows(connection))
        _refuse_changed(found)
        states = {one.name: one.state for one in found}
        pending = [file for file in files if states[file.name] is MigrationState.PENDING]
        for file in pending:
            if progress:
                progress(f"migrating {file.name}")
            await _apply(connection, file)
    missing = [one.name for one in found if one.state is MigrationState.MISSING]
    return MigrationReport([file.name for file in pending], missing)


async def mark_applied(connection: asyncpg.Connection, folder: Path, name: str) -> str:
    """Record the file `name` as applied without running it, or accept its changed text; return the name."""
    file = find(folder, name)
    async with _exclusive(connection):
        await _record(connection, file, 0)
    return file.name


async def unmark(connection: asyncpg.Connection, name: str) -> str:
    """Forget that `name` was applied, so that the next run applies it; return the name."""
    wanted = name.removesuffix(".sql")
    async with _exclusive(connection):
        with database_errors():
            done = await connection.execute("DELETE FROM public.schema_migrations WHERE name = $1", wanted)
    if done == "DELETE 0":
        raise MigrationNotFound(f"{wanted} is not applied", hint="see `iotistic db status`")
    return wanted


@asynccontextmanager
async def _exclusive(connection: asyncpg.Connection, wait_s: float = WAIT_S) -> AsyncGenerator[None]:
    with database_errors():
        await connection.execute(f"SET lock_timeout = '{wait_s * 1000:.0f}ms'")
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY, timeout=wait_s + 10)
        except asyncpg.LockNotAvailableError as exc:
            raise MigrationLocked(hint="see pg_stat_activity for who holds the advisory lock") from exc
        await connection.execute("RESET lock_timeout")
    try:
        with database_errors():
            await connection.execute(_TABLE)
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)


async def _rows(connection: asyncpg.Connection) -> dict[str, _Row]:
    with database_errors():
        if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
            return {}
        rows = await connection.fetch(
            "SELECT name, checksum, applied_at, duration_ms FROM public.schema_migrations ORDER BY name"
        )
    return {row["name"]: _Row(row["checksum"], row["applied_at"], row["duration_ms"]) for row in rows}


def _compare(files: list[MigrationFile], rows: dict[str, _Row]) -> list[MigrationStatus]:
    checksums = {file.name: file.checksum for file in files}
    answer: list[MigrationStatus] = []
    for name in sorted(checksums.keys() | rows.keys()):
        row = rows.get(name)
        if row is None:
            answer.append(MigrationStatus(name, MigrationState.PENDING))
            continue
        state = {row.checksum: MigrationState.APPLIED, None: MigrationState.MISSING}.get(
            checksums.get(name), MigrationState.CHANGED
        )
        answer.append(MigrationStatus(name, state, row.applied_at, row.duration_ms))
    return answer


def _refuse_changed(found: list[MigrationStatus]) -> None:
    changed = [one.name for one in found if one.state is MigrationState.CHANGED]
    if changed:
        raise MigrationChanged(
            f"changed after being applied: {', '.join(changed)}",
            hint="put the file back and write a new migration, or accept the new text with "
            f"`iotistic db mark-applied {changed[0]}`",
            names=changed,
        )


async def _apply(connection: asyncpg.Connection, file: MigrationFile) -> None:
    statements = file.statements()
    started = time.monotonic()
    try:
        with database_errors():
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                for statement in statements:
                    await _run(connection, file, statement)
                await _record(connection, file, round((time.monotonic() - started) * 1000))
    finally:
        if not connection.is_closed():
            # A SET in one file must not reach the next one.
            await connection.execute("RESET ALL")


async def _run(connection: asyncpg.Connection, file: MigrationFile, statement: Statement) -> None:
    try:
        await connection.execute(statement.text)
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
        raise
    except asyncpg.PostgresError as exc:
        line = statement.line_at(int(exc.position)) if exc.position else statement.line
        excerpt = " ".join(statement.text.split())[:_EXCERPT]
        raise MigrationFailed(
            f"{file.name}.sql, line {line}: {exc.message}",
            hint=f"nothing of this file was kept; the statement: {excerpt}",
            file=f"{file.name}.sql",
            line=line,
            statement=excerpt,
            sqlstate=exc.sqlstate,
        ) from exc


async def _record(connection: asyncpg.Connection, file: MigrationFile, duration_ms: int) -> None:
    with database_errors():
        await connection.execute(
            "INSERT INTO public.schema_migrations (name, checksum, duration_ms) VALUES ($1, $2, $3) "
            "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum",
            file.name,
            file.checksum,
            duration_ms,
        )
