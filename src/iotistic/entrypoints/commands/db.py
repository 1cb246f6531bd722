"""`iotistic db`: where the database is, how it keeps readings, and its migrations.

The database is the one in the environment (DATABASE_URL), otherwise the embedded server of this home
while it runs.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import asyncpg
from cyclopts import App, Parameter

import iotistic
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.migrations import files, runner
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.kernel.settings import load_settings
from iotistic.telemetry.storage.keeper import Keeper, Maintained
from iotistic.telemetry.storage.moving import Mover
from iotistic.telemetry.storage.settings import RetentionSettings, RollupSettings
from iotistic.telemetry.storage.store import ReadingsStore, read_store

MIGRATIONS = Path(iotistic.__file__).parent / "migrations"

app = App(name="db", help="Show and run the database's migrations.", help_format="plaintext")

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Folder = Annotated[Path, Parameter(name="--folder", help="Folder of the migration files.")]
T = TypeVar("T")


class DatabaseNotRunning(Unavailable):
    """No database is configured, and the embedded one does not run."""

    code = "database.not_running"


class DbSettings(HomeSettings, DatabaseSettings):
    """Which database `iotistic db` works on."""


class MaintainSettings(DatabaseSettings, RollupSettings, RetentionSettings):
    """How `iotistic db maintain` works."""


@app.command
def url(*, json: AsJson = False) -> None:
    """Print the address of the database, without its password."""
    found = _dsn()
    emit({"url": found.url} if json else found.url, json=json)


@app.command
def status(*, folder: Folder = MIGRATIONS, json: AsJson = False) -> None:
    """Say where readings are kept, and list the migrations: applied, pending, changed or missing on disk."""
    store, migrations = _run(lambda connection: _status(connection, folder))
    if json:
        emit({"store": _shown(store), "migrations": migrations}, json=True)
        return
    emit(f"readings: {store}", json=False)
    emit(migrations, json=False, empty="no migrations")


@app.command
def migrate(*, folder: Folder = MIGRATIONS, json: AsJson = False) -> None:
    """Apply the migrations that are pending; waits while another process does."""
    report = _run(lambda connection: runner.migrate(connection, folder, progress=_progress))
    if json:
        emit(report, json=True)
        return
    emit(f"{len(report.applied)} applied" if report.applied else "nothing to do", json=False)
    if report.missing:
        emit(f"applied but not on disk: {', '.join(report.missing)}", json=False)


@app.command
def create(title: str, *, folder: Folder = MIGRATIONS, json: AsJson = False) -> None:
    """Write an empty migration with the next number.

    Parameters
    ----------
    title
        What it does, in a few words: add_door_index.
    """
    path = files.create(folder, title)
    emit({"path": path} if json else path, json=json)


@app.command(name="mark-applied")
def mark_applied(name: str, *, folder: Folder = MIGRATIONS, json: AsJson = False) -> None:
    """Record a migration as applied without running it, or accept its changed text.

    Parameters
    ----------
    name
        The file's name, with or without .sql.
    """
    marked = _run(lambda connection: runner.mark_applied(connection, folder, name))
    emit({"name": marked, "state": "applied"} if json else f"{marked} is recorded as applied", json=json)


@app.command
def unmark(name: str, *, json: AsJson = False) -> None:
    """Forget that a migration was applied; the next run applies it again.

    Parameters
    ----------
    name
        The file's name, with or without .sql.
    """
    forgotten = _run(lambda connection: runner.unmark(connection, name))
    emit({"name": forgotten, "state": "pending"} if json else f"{forgotten} is pending again", json=json)


@app.command(name="to-hypertable")
def to_hypertable(*, abandon: Annotated[bool, Parameter(negative="")] = False, json: AsJson = False) -> None:
    """Move the readings from plain partitions into a TimescaleDB hypertable, while readings come in.

    It takes as much disk again as the readings do, until it is done. Stopped or killed, it goes on where
    it was when run again.

    Parameters
    ----------
    abandon
        Undo a move that has not finished.
    """
    if abandon:
        _run(lambda connection: Mover(connection, _progress).abandon())
        emit({"abandoned": True} if json else "readings stay in plain partitions", json=json)
        return
    moved = _run(lambda connection: Mover(connection, _progress).run())
    shown = {
        "store": _shown(moved.store), "days": moved.days, "rows": moved.rows, "duration_s": moved.duration_s
    }  # fmt: skip
    emit(shown if json else f"{moved.rows:,} readings moved; they are in {moved.store}", json=json)


@app.command
def maintain(*, json: AsJson = False) -> None:
    """Roll up what is due, make partitions ahead, drop what is too old: once, now."""
    dsn = _dsn()
    settings = load_settings(MaintainSettings, database_url=dsn.url, database_password=dsn.password)
    done = asyncio.run(_maintain(settings))
    shown = {"rolled": asdict(done.rolled), "house": asdict(done.house)}
    emit(shown if json else {**shown["rolled"], **shown["house"]}, json=json)


async def _maintain(settings: MaintainSettings) -> Maintained:
    pool = await create_pool(settings, application_name="iotistic db maintain", min_size=0)
    try:
        return await Keeper(pool, settings, settings).run_once()
    finally:
        pool.terminate()


def _dsn() -> Dsn:
    settings = load_settings(DbSettings)
    if settings.database_url is not None:
        return settings.dsn
    found = running_dsn(settings.home)
    if found is None:
        raise DatabaseNotRunning(
            f"no database runs in {settings.home.path}",
            hint="start it with `iotistic up`, or set DATABASE_URL",
        )
    return found


def _run(work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with _connection() as connection:
            return await work(connection)

    return asyncio.run(connected())


@asynccontextmanager
async def _connection() -> AsyncGenerator[asyncpg.Connection]:
    connection = await open_connection(_dsn(), application_name="iotistic db")
    try:
        yield connection
    finally:
        await connection.close()


async def _status(
    connection: asyncpg.Connection, folder: Path
) -> tuple[ReadingsStore, list[runner.MigrationStatus]]:
    return await read_store(connection), await runner.status(connection, folder)


def _shown(store: ReadingsStore) -> dict[str, object]:
    return {**asdict(store), "name": str(store)}


def _progress(line: str) -> None:
    sys.stderr.write(line + "\n")
