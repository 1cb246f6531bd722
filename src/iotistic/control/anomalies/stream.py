"""The watch over stored readings, as a loop of the control process.

    who may be watched --> admit (on disk) --> read what is new of each --> detectors (a thread) --> anomalies
                                                           +--> now and then: what was learned, on disk

One process of an installation watches: the one that holds a lock in the database, and only over the connection that
holds it, so that one which lost the lock writes nothing any more. Whatever fails, it begins again from what is on
disk, and reads again from there; anomalies that it finds again are known by their names.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from iotistic.control.anomalies import series_rows
from iotistic.control.anomalies.series_rows import StreamStanding
from iotistic.control.anomalies.service import utc_now
from iotistic.control.anomalies.settings import AnomalyDeskSettings, StreamMode
from iotistic.control.anomalies.turn import Turn
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOCK = 0x616E_6F6D  # "anom"
_ELSEWHERE_S = 5.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 30.0


class AnomalyStream:
    """Watches until it is stopped."""

    def __init__(
        self, pool: asyncpg.Pool, settings: AnomalyDeskSettings, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._settings, self._clock = pool, settings, clock
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Wait for the turn, then watch; what fails is tried again, from what is on disk."""
        pause_s, told = _RETRY_FIRST_S, ""
        while not self._stopping.is_set():
            try:
                with database_errors():
                    async with self._turn() as db:
                        if db is not None:
                            await self._watch(db)
                pause_s, told = _ELSEWHERE_S, ""
            except (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
                if told != (told := type(exc).__name__):
                    log.warning("anomaly_stream.failed", reason=str(exc))
                pause_s = min(max(pause_s, _RETRY_FIRST_S) * 2, _RETRY_MOST_S)
            await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter

    def stop(self) -> None:
        """Judge nothing more; what was learned is saved."""
        self._stopping.set()

    async def _watch(self, db: Any) -> None:
        if self._settings.anomaly_stream is StreamMode.OFF:
            await series_rows.stand(db, StreamStanding("off", self._clock(), 0, 0, 0, 0, 0.0))
            await self._stopping.wait()
            return
        turn = Turn(db, self._settings, self._clock, self._stopping)
        await db.execute(series_rows.SESSION)
        try:
            while not self._stopping.is_set():
                if not await turn.look():
                    await self._rest(self._settings.anomaly_stream_round_s)
            await turn.save()
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await db.execute("RESET ALL")

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncGenerator[Any]:
        """Give the connection that holds the lock, None when another process has it."""
        db = await self._pool.acquire()
        try:
            is_ours = await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
            yield db if is_ours else None
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await db.fetchval("SELECT pg_advisory_unlock_all()")
            await self._pool.release(db)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
