"""Databases of the tests: one that was migrated once per server, and copies of it."""

import itertools
import os
import shutil
from pathlib import Path

import iotistic
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.pool import open_connection

MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
ROOMY = 8 << 30
_numbers = itertools.count(1)


def memory_if_roomy() -> Path | None:
    """Return a folder in memory when there is plenty: thousands of copies of thousand files take half the time there.

    Tests of power cuts, full disks and kills have servers, and folders, of their own.
    """
    folder = Path("/dev/shm")
    if not folder.is_dir() or shutil.disk_usage(folder).free < ROOMY:
        return None
    known = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return folder if int(known["MemAvailable"].split()[0]) << 10 > ROOMY else None


async def no_power_cuts(admin) -> None:
    """Let a server write without waiting: thousands of databases are made and dropped on it."""
    for setting in ("fsync", "full_page_writes"):
        await admin.execute(f"ALTER SYSTEM SET {setting} = off")
    await admin.execute("SELECT pg_reload_conf()")


def migrated_database(loop_runner, admin, server) -> str:
    """Make a database with the product's schema and return its name."""
    name = f"migrated_{os.getpid()}"

    async def make() -> None:
        await admin.execute(f"CREATE DATABASE {name}")
        connection = await open_connection(server.with_database(name), application_name="test-template")
        await runner.migrate(connection, MIGRATIONS)
        await connection.close()

    loop_runner.run(make())
    return name


def fresh_database(loop_runner, admin, server, template):
    """Yield the address of a copy of `template`, and drop it."""
    name = loop_runner.run(copied_database(admin, template))
    yield server.with_database(name)
    loop_runner.run(dropped_database(admin, name))


async def copied_database(admin, template) -> str:
    """Make a copy of `template` and return its name."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    # Copied as files: written through the log, as is the default, a copy of many small tables takes six times as long.
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return name


async def dropped_database(admin, name) -> None:
    """Drop a database, whoever is connected to it."""
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
