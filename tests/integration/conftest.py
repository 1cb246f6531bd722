"""A real PostgreSQL for the session, and a fresh, migrated database for each test that asks.

`postgres`    address of the running server (a PostgresServer in a temporary home)
`database`    address of a fresh database with the product's schema; with password
`pool`, `connection`   opened on `database`

A test marked `every_store` runs on plain partitions and on TimescaleDB: see timescale_fixtures.py.
"""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
import pytest
from broker_fixtures import broker, broker_folder, own_broker, session_broker  # noqa: F401 - fixtures for all
from databases import fresh_database, memory_if_roomy, migrated_database, no_power_cuts
from kafka_fixtures import kafka, suffix  # noqa: F401 - fixtures for all
from timescale_fixtures import (  # noqa: F401 - fixtures for all
    empty_timescale_database,
    parametrize_stores,
    readings_store,
    timescale,
    timescale_admin,
    timescale_template,
)
from washed_databases import WashedDatabases

from iotistic.kernel.home import Home
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.kernel.postgres.server import PostgresServer


def pytest_configure(config):
    config.addinivalue_line("markers", "every_store: runs on plain partitions and on TimescaleDB")


def pytest_generate_tests(metafunc):
    parametrize_stores(metafunc)


@pytest.fixture
def tmp_path():
    """A folder as pytest's own, but one that the engines' account can walk to when root runs the tests.

    A home that it cannot reach gets folders in the machine's /var/lib, which would outlive the test.
    """
    with tempfile.TemporaryDirectory(prefix="iotistic-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_runner():
    """The event loop that the session's server and its administration live in."""
    with asyncio.Runner() as loop_runner:
        yield loop_runner


@pytest.fixture(scope="session")
def postgres_home():
    """A home that the engines' account can walk to, which pytest's own temporary folder is not for root."""
    with tempfile.TemporaryDirectory(prefix="iotistic-tests-", dir=memory_if_roomy()) as folder:
        Path(folder).chmod(0o711)
        yield Home(Path(folder) / "home")


@pytest.fixture(scope="session")
def postgres(postgres_runner, postgres_home) -> Dsn:
    server = PostgresServer(postgres_home, preferred_port=0)
    yield postgres_runner.run(server.start())
    postgres_runner.run(server.stop())


@pytest.fixture(scope="session")
def postgres_admin(postgres_runner, postgres):
    connection = postgres_runner.run(
        open_connection(postgres.with_database("postgres"), application_name="test-admin")
    )
    postgres_runner.run(no_power_cuts(connection))
    yield connection
    postgres_runner.run(connection.close())


@pytest.fixture(scope="session")
def template_database(postgres_runner, postgres_admin, postgres) -> str:
    """Name of a database that was migrated once and is only copied from."""
    return migrated_database(postgres_runner, postgres_admin, postgres)


@pytest.fixture
def empty_database(postgres_runner, postgres_admin, postgres) -> Dsn:
    """A fresh database without any schema."""
    yield from fresh_database(postgres_runner, postgres_admin, postgres, "template0")


@pytest.fixture(scope="session")
def washed_databases(postgres_runner, postgres_admin, postgres, template_database) -> WashedDatabases:
    """Copies that are emptied between tests."""
    databases = WashedDatabases(postgres_runner, postgres_admin, postgres, template_database)
    yield databases
    databases.close()


@pytest.fixture
def database(request, postgres_runner, readings_store) -> Dsn:  # noqa: F811 - the imported fixture
    # Asked for by name: a plain test starts no TimescaleDB.
    if readings_store == "plain":
        yield from request.getfixturevalue("washed_databases").lend()
        return
    names = ("timescale_admin", "timescale", "timescale_template")
    yield from fresh_database(postgres_runner, *map(request.getfixturevalue, names))


@pytest.fixture
async def connection(database) -> asyncpg.Connection:
    opened = await open_connection(database, application_name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def pool(database) -> asyncpg.Pool:
    opened = await create_pool(
        DatabaseSettings(
            database_url=database.url, database_password=database.password, database_pool_size=4
        ),
        application_name="test",
    )
    yield opened
    opened.terminate()
