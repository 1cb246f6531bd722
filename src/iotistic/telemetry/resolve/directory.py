"""The directory in PostgreSQL, and the ear on its change notifications."""

import asyncio
import contextlib
from collections.abc import Callable, Collection

import asyncpg
import structlog

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.faults import database_faults
from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.model import SeriesRef
from iotistic.telemetry.resolve.lookup import look_up
from iotistic.telemetry.resolve.model import Hints, Resolution, UnknownPolicy

log = structlog.get_logger()

_CHANNEL = "metadata_changed"
_LISTEN_AGAIN_S = 1.0
_ASK_EVERY_S = 5.0  # a connection that died without a word is noticed within this and the next
_ANSWER_WITHIN_S = 5.0


class PostgresDirectory:
    """Looks series up in the metadata tables."""

    def __init__(self, pool: asyncpg.Pool, policy: UnknownPolicy) -> None:
        self._pool = pool
        self._policy = policy

    async def look_up(self, refs: Collection[SeriesRef], hints: Hints) -> dict[SeriesRef, Resolution]:
        """Return what each of `refs` resolves to. Raises Unavailable."""
        with database_faults():
            async with self._pool.acquire() as connection:
                return await look_up(connection, refs, self._policy, hints)

    def forget(self) -> None:
        """Do nothing: every look-up reads the tables."""


async def hear_changes(dsn: Dsn, forget: Callable[[], None]) -> None:
    """Call `forget` at every change of metadata, until cancelled.

    While the connection is away changes cannot be heard, so `forget` is also called when it is back.
    """
    listened = asyncio.Event()

    def hear() -> None:
        listened.set()
        forget()

    while True:
        try:
            with database_faults():
                await _listen(dsn, hear)
        except Unavailable as exc:
            if listened.is_set():
                log.warning("metadata.listening_lost", reason=exc.message)
            listened.clear()
        await asyncio.sleep(_LISTEN_AGAIN_S)


async def _listen(dsn: Dsn, forget: Callable[[], None]) -> None:
    """Listen on one connection until it is lost, which raises."""
    connection = await open_connection(dsn, application_name="ingest-changes")
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _connection: lost.set())
    try:
        await connection.add_listener(_CHANNEL, lambda _c, _pid, _channel, _payload: forget())
        forget()
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_EVERY_S):
                    await lost.wait()
            await connection.execute("SELECT", timeout=_ANSWER_WITHIN_S)
    finally:
        connection.terminate()
