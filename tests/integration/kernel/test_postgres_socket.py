"""The embedded server's socket file, which our own processes use."""

import os
import signal
import tempfile
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from iotistic.kernel import process
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import (
    DatabaseDenied,
    DatabaseSettings,
    DatabaseUnavailable,
    create_pool,
    database_errors,
    open_connection,
)
from iotistic.kernel.postgres.server import PostgresServer

OVER_SOCKET = "SELECT inet_server_addr() IS NULL"


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="iotistic-socket-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture
async def server(folder):
    one = PostgresServer(Home(folder / "home"), preferred_port=0)
    yield one
    await one.stop()


async def run(dsn, sql):
    connection = await open_connection(dsn, application_name="test")
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_processes_of_ours_connect_over_a_socket_that_other_accounts_cannot_reach(server):
    far = await server.start()

    assert await run(server.near, OVER_SOCKET) is True
    assert await run(far, OVER_SOCKET) is False
    assert (server.data.parent / "socket").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("password", [None, SecretStr("wrong")])
async def test_the_socket_asks_for_the_password_as_well(server, password):
    await server.start()

    with pytest.raises((DatabaseDenied, asyncpg.InterfaceError)):  # the driver itself has none to send
        await run(Dsn(server.near.url, password), "SELECT 1")


async def test_a_home_whose_path_is_too_long_for_a_socket_is_reached_over_tcp(folder):
    server = PostgresServer(Home(folder / ("long" * 20) / "home"), preferred_port=0)
    try:
        assert await server.start() == server.near
        assert await run(server.near, OVER_SOCKET) is False
    finally:
        await server.stop()


async def test_a_killed_servers_socket_is_no_hindrance_though_its_number_lives_on(server):
    await server.start()
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()
    # What a machine leaves that lost power, once the number in it is another program's of the same account.
    other = await process.spawn(["sleep", "60"], account=process.service_account())
    (lock,) = (server.data.parent / "socket").glob("*.lock")
    _, *rest = lock.read_text().splitlines(keepends=True)
    lock.write_text("".join([f"{other.pid}\n", *rest]))

    await server.start()

    assert await run(server.near, OVER_SOCKET) is True
    await process.stop(other)


async def test_a_pool_over_the_socket_works_again_when_the_server_is_back(server):
    await server.start()
    near = server.near
    settings = DatabaseSettings(database_url=near.url, database_password=near.password, database_pool_size=2)
    pool = await create_pool(settings, application_name="test")
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()

    with pytest.raises(DatabaseUnavailable), database_errors():
        await pool.fetchval("SELECT 1")
    await server.start()

    assert await pool.fetchval(OVER_SOCKET) is True
    await pool.close()
