"""Hears the broker's log of sessions, in one process at a time, and tells presence.

    lock -> connect -> subscribe -> hear ... write

Two that heard the same would each begin an epoch, and the slower one would bring back who has gone since. The lock
falls with its connection, so a process that is killed is followed by another within two seconds. Whatever happens
at the broker meanwhile is not heard; polls and reports, and leases that end, make up for it.
"""

import asyncio
import contextlib
import os
from socket import gethostname

import asyncpg
import structlog

from iotistic.control.devices.repository import Database
from iotistic.control.presence.service import Presence
from iotistic.control.presence.sessions import LOG_TOPIC, SessionLog, Sessions
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.client import MqttClient, connect
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOCK = 0x7072_6573
_AGAIN_S = 2.0
_GATHER_S = 0.2
_CONNECT_WITHIN_S = 5.0
_TROUBLE = (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class SessionListener:
    """The background part."""

    def __init__(self, pool: asyncpg.Pool, presence: Presence, mqtt: MqttSettings) -> None:
        self._pool, self._presence, self._mqtt = pool, presence, mqtt
        self._client_id = f"iotistic-presence-{gethostname()}-{os.getpid()}"
        self._stopping = asyncio.Event()
        self._is_failing = False
        self.is_listening = False

    async def run(self) -> None:
        """Listen until `stop` is called, whenever no other process does."""
        while not self._stopping.is_set():
            try:
                await self._watch()
            except _TROUBLE as exc:
                if not self._is_failing:
                    log.warning("presence.not_listening", reason=str(exc))
                self._is_failing = True
            await self._rest(_AGAIN_S)

    def stop(self) -> None:
        """Hear no more."""
        self._stopping.set()

    async def _watch(self) -> None:
        with database_errors():
            async with self._pool.acquire() as holder:
                if not await holder.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                    return
                try:
                    await self._listen(holder)
                finally:
                    self.is_listening = False
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await holder.execute("SELECT pg_advisory_unlock($1)", _LOCK)

    async def _listen(self, holder: Database) -> None:
        """Listen as long as the lock's connection lives."""
        sessions = Sessions(self._presence)
        async with connect(self._mqtt, client_id=self._client_id, within_s=_CONNECT_WITHIN_S) as client:
            await client.subscribe(LOG_TOPIC)
            self.is_listening, self._is_failing = True, False
            hearing = asyncio.create_task(_hear(client, sessions))
            try:
                while not self._stopping.is_set():
                    await holder.execute("SELECT 1")
                    await self._write(sessions)
                    await self._rest(_GATHER_S)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _write(self, sessions: Sessions) -> None:
        try:
            while sessions.waiting:
                await sessions.write()
        except _TROUBLE as exc:  # it waits; when the lock is gone too, the next round says so
            log.warning("presence.sessions_wait", clients=sessions.waiting, reason=str(exc))

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def _hear(client: MqttClient, sessions: Sessions) -> None:
    lines = SessionLog()
    async for message in client.messages():
        if heard := lines.read(message.payload.decode("utf-8", "replace")):
            sessions.hear(heard)
