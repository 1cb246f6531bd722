"""Hears of changes in the database (NOTIFY mqtt_access), and tells those who keep something.

A notice may be missed while the connection is away, so everybody is told at each new connection too, and who
keeps something keeps it for a while only.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_CHANNEL = "mqtt_access"
_LOOK_EVERY_S = 30.0
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.5, 15.0

# InterfaceError: what a pool says of a connection that it lost while somebody held it.
_TROUBLE = (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class AccessChanges:
    """One connection that listens; `tell` is what is called at each change, in the event loop."""

    def __init__(self, pool: asyncpg.Pool, *tell: Callable[[], None]) -> None:
        self._pool, self._tell = pool, tell
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Listen until `stop` is called, over every loss of the database."""
        pause_s = _PAUSE_FIRST_S
        while not self._stopping.is_set():
            try:
                with database_errors():
                    await self._listen()
                pause_s = _PAUSE_FIRST_S
            except _TROUBLE as exc:
                log.warning("mqtt_access.not_heard", error=str(exc), pause_s=pause_s)
                # Not for the lost connection, which stays lost while the database is away.
                await _rest(self._stopping, pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MOST_S)

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        self._lost.set()

    async def _listen(self) -> None:
        async with self._pool.acquire() as connection:
            self._lost.clear()
            connection.add_termination_listener(lambda _connection: self._lost.set())
            await connection.add_listener(_CHANNEL, self._heard)
            try:
                self._tell_all()
                while not self._stopping.is_set():
                    await _rest(self._lost, _LOOK_EVERY_S)
                    await connection.execute("SELECT 1")  # a connection that is dead says so only when asked
            finally:
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await connection.remove_listener(_CHANNEL, self._heard)

    def _heard(self, *_notice: Any) -> None:
        self._tell_all()

    def _tell_all(self) -> None:
        for tell in self._tell:
            tell()


async def _rest(until: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
