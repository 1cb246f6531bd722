"""The stores that readings can be in, for tests that hold on each: plain partitions and a hypertable.

A test marked `every_store` runs once on each: `database` is then a fresh, migrated database of that store.
TIMESCALE_TEST_URL names a server to use in place of our own (Apache) one, the full edition for example; its
user must be allowed to create databases and the extension.
"""

import os

import pytest
from benchmarks.timescale import TimescaleServer
from databases import fresh_database, migrated_database, no_power_cuts

from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection

STORES = ("plain", "timescale")


def parametrize_stores(metafunc):
    """Run a test that is marked so on every store, unless it names its own; for pytest_generate_tests."""
    named = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if metafunc.definition.get_closest_marker("every_store") and not any(
        "readings_store" in one for one in named
    ):
        metafunc.parametrize("readings_store", STORES, indirect=True)


@pytest.fixture
def readings_store(request) -> str:
    """Where the test's database keeps its readings."""
    return getattr(request, "param", "plain")


@pytest.fixture(scope="session")
def timescale() -> Dsn:
    """Address of a running server that has the extension."""
    if url := os.environ.get("TIMESCALE_TEST_URL"):
        yield Dsn.parse(url)
        return
    server = TimescaleServer()
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def timescale_admin(postgres_runner, timescale):
    connection = postgres_runner.run(open_connection(timescale, application_name="test-admin"))
    postgres_runner.run(no_power_cuts(connection))
    yield connection
    postgres_runner.run(connection.close())


@pytest.fixture(scope="session")
def timescale_template(postgres_runner, timescale_admin, timescale) -> str:
    """Name of a migrated database with a hypertable."""
    return migrated_database(postgres_runner, timescale_admin, timescale)


@pytest.fixture
def empty_timescale_database(postgres_runner, timescale_admin, timescale) -> Dsn:
    """A fresh database without any schema, on a server that has the extension."""
    yield from fresh_database(postgres_runner, timescale_admin, timescale, "template0")
