"""The directory in PostgreSQL, and the ear on its change notifications."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import asyncpg
import structlog

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import database_errors, open_connection
from iotistic.telemetry.model import SeriesRef
from iotistic.telemetry.resolve.lookup import look_up
from iotistic.telemetry.resolve.model import Resolution, UnknownPolicy

log = structlog.get_logger()

_CHANNEL = "metadata_changed"
_LISTEN_AGAIN_S = 1.0


class PostgresDirectory:
    """Looks series up in the metadata tables."""

    def __init__(self, pool: asyncpg.Pool, policy: UnknownPolicy) -> None:
        self._pool = pool
        self._policy = policy

    async def look_up(
        self, refs: Collection[SeriesRef], units: Mapping[SeriesRef, str]
    ) -> dict[SeriesRef, Resolution]:
        """Return what each of `refs` resolves to. Raises Unavailable."""
        with database_errors():
            async with self._pool.acquire() as connection:
                return await look_up(connection, refs, self._policy, units)


async def hear_changes(dsn: Dsn, forget: Callable[[], None]) -> None:
    """Call `forget` at every change of metadata, until cancelled.

    While the connection is away changes cannot be heard, so `forget` is also called when it is back.
    """
    while True:
        try:
            connection = await open_connection(dsn, application_name="ingest-changes")
        except Unavailable:
            await asyncio.sleep(_LISTEN_AGAIN_S)
            continue
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection, event=lost: event.set())
        try:
            with database_errors():
                await connection.add_listener(_CHANNEL, lambda _c, _pid, _channel, _payload: forget())
            forget()
            await lost.wait()
        except Unavailable:
            pass
        finally:
            connection.terminate()
        log.warning("metadata.listening_lost")
        await asyncio.sleep(_LISTEN_AGAIN_S)
