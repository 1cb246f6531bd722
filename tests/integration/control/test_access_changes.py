"""Who hears of changed access rules bears that the database goes away, and hears again when it is back."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest
import structlog

from iotistic.control.broker.changes import AccessChanges
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.postgres.server import PostgresServer


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="iotistic-changes-") as path:
        Path(path).chmod(0o711)
        yield Home(Path(path) / "home")


@pytest.fixture
async def server(home):
    one = PostgresServer(home, preferred_port=0)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize("way", ["socket", "tcp"])
async def test_while_the_database_is_away_it_asks_now_and_then_and_afterwards_it_hears_again(server, way):
    dsn = server.near if way == "socket" else await server.start()
    settings = DatabaseSettings(database_url=dsn.url, database_password=dsn.password, database_pool_size=1)
    pool = await create_pool(settings, application_name="test")
    told = asyncio.Event()
    changes = AccessChanges(pool, told.set)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(changes.run())
        async with asyncio.timeout(30):
            await told.wait()
            os.kill(server.pid, signal.SIGKILL)
            await server.process.wait()
            await asyncio.sleep(1.2)  # not a wait: the time in which tries are counted
            tries = sum(line["event"] == "mqtt_access.not_heard" for line in logs)

            told.clear()
            await server.start()
            await told.wait()
            changes.stop()
            await running

    assert 1 <= tries <= 3  # after 0, 0.5 and 1.5 s
    await pool.close()
