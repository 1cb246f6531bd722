"""`kill -9` of the database: the API says 503, stays up, and goes on by itself."""

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path

import httpx2
import pytest
from api_builders import AUTH, operator_gate

import iotistic
from iotistic.entrypoints.api import PREFIX, create_api_app
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.kernel.postgres.server import PostgresServer
from iotistic.kernel.web.server import serve

MIGRATIONS = Path(iotistic.__file__).parent / "migrations"


@pytest.fixture
async def own_postgres():
    with tempfile.TemporaryDirectory(prefix="iotistic-tests-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - no path library in async code
        server = PostgresServer(Home(Path(folder) / "home"), preferred_port=0)
        connection = await open_connection(await server.start(), application_name="test")
        await runner.migrate(connection, MIGRATIONS)
        await connection.close()
        yield server
        await server.stop()


@pytest.mark.slow
async def test_the_api_survives_a_killed_database(own_postgres, hub, publisher):
    dsn = await own_postgres.start()
    settings = DatabaseSettings(database_url=dsn.url, database_password=dsn.password)
    pool = await create_pool(settings, application_name="test", min_size=0)
    app = create_api_app(pool, hub, publisher, gate=operator_gate())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(pool.terminate)
        server = await stack.enter_async_context(await serve(app, host="127.0.0.1", port=0))
        base = f"http://127.0.0.1:{server.port}"
        api = await stack.enter_async_context(
            httpx2.AsyncClient(verify=False, base_url=base, headers=AUTH, timeout=20)
        )
        before = await api.get(f"{PREFIX}/devices")
        os.kill(own_postgres.pid, signal.SIGKILL)
        await own_postgres.process.wait()
        away = await api.get(f"{PREFIX}/devices")
        ready = await api.get("/health/ready")
        await own_postgres.start()
        async with asyncio.timeout(20):
            while (back := await api.get(f"{PREFIX}/devices")).status_code != 200:  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(0.05)

    assert (before.status_code, away.status_code, back.status_code) == (200, 503, 200)
    assert away.json()["code"] == "database.unavailable"
    assert int(away.headers["retry-after"]) >= 1
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
