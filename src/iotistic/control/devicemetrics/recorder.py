"""Keeps what reports say of machines: durable when the report is acknowledged, and many in one transaction.

Reports that come while a transaction runs make up the next one, so that the price of a commit is shared by as
many as there are, and none waits longer than for two.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from iotistic.control.devicemetrics import repository
from iotistic.control.devicemetrics.model import sample_of
from iotistic.control.devicemetrics.repository import Taken
from iotistic.control.history.partitions import METRICS, PROCESSES, inserting
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.pool import database_errors

_MOST_TOGETHER = 1000
_MOST_WAITING = 20_000


class TooManyReports(Unavailable):
    """More reports come than can be stored; send it again in a moment."""

    code = "report.too_many"


class MetricsRecorder:
    """Over one database, in one process."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: list[tuple[Taken, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    async def record(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once what a report says of its machine is stored; at once when it says nothing of it.

        Raises TooManyReports, DatabaseUnavailable.
        """
        sample = sample_of(fields)
        if sample is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            raise TooManyReports(retry_after_s=5, limit=_MOST_WAITING)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((uuid, at, sample), stored))
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="device-metrics")
        await stored

    async def _work(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                await self._store(taken)
        finally:
            self._working = None

    async def _store(self, taken: Sequence[tuple[Taken, asyncio.Future[None]]]) -> None:
        samples = [sample for sample, _ in taken]
        try:
            with database_errors():
                await inserting(
                    self._pool, (METRICS, PROCESSES), [at for _, at, _ in samples], lambda: self._add(samples)
                )
        except BaseException as exc:
            for _, stored in taken:
                if not stored.done():
                    _ = (
                        stored.cancel()
                        if isinstance(exc, asyncio.CancelledError)
                        else stored.set_exception(exc)
                    )
            if not isinstance(exc, Exception):
                raise
        else:
            for _, stored in taken:
                if not stored.done():
                    stored.set_result(None)

    async def _add(self, samples: Sequence[Taken]) -> None:
        async with self._pool.acquire() as db, db.transaction():
            await repository.add(db, samples)
