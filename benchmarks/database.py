"""A throwaway PostgreSQL with the product's schema, for benchmarks that need nothing else."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

import iotistic
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_connection
from iotistic.kernel.postgres.server import PostgresServer

_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"


@asynccontextmanager
async def bench_database(*, connections: int = 10) -> AsyncIterator[tuple[Dsn, asyncpg.Pool]]:
    """Start a server in a temporary home, migrate it, and give its address and a pool."""
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)
        server = PostgresServer(Home(Path(folder) / "home"), preferred_port=0)
        dsn = await server.start()
        try:
            connection = await open_connection(dsn, application_name="bench-migrations")
            await runner.migrate(connection, _MIGRATIONS)
            await connection.close()
            settings = DatabaseSettings(
                database_url=dsn.url,
                database_password=dsn.password,
                database_pool_size=connections,
                database_command_timeout_s=600,
            )
            pool = await create_pool(settings, application_name="bench", min_size=1)
            try:
                yield dsn, pool
            finally:
                pool.terminate()
        finally:
            await server.stop()
