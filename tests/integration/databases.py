"""Databases of the tests: one that was migrated once per server, and copies of it."""

import itertools
import os
from pathlib import Path

import iotistic
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.pool import open_connection

MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_numbers = itertools.count(1)


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
    name = f"test_{os.getpid()}_{next(_numbers)}"
    # Copied as files: written through the log, as is the default, a copy of many small tables takes six times as long.
    loop_runner.run(admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    yield server.with_database(name)
    loop_runner.run(admin.execute(f"DROP DATABASE {name} WITH (FORCE)"))
