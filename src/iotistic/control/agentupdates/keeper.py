"""The background work of agents' updates: tell devices, end what is over, notice versions that are there.

Safe in several processes and after `kill -9`: what is due is in the database, and each piece is one statement or
taken under a lease.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import asyncpg
import structlog

from iotistic.control.agentupdates import rows
from iotistic.control.agentupdates.messages import OrderTeller
from iotistic.control.agentupdates.model import LATE_CODE, UNHEARD_CODE
from iotistic.control.agentupdates.settings import AgentUpdateSettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


class AgentUpdateKeeper:
    """Works until `stop` is called."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        teller: OrderTeller,
        settings: AgentUpdateSettings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool, self._teller, self._clock = pool, teller, clock
        self._every_s = settings.agent_update_round_s
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Work until `stop` is called."""
        while not self._stopping.is_set():
            try:
                await self.once()
            except (IotisticError, asyncpg.PostgresError, OSError, TimeoutError) as exc:
                if not self._is_failing:
                    log.warning("agent_update.keeper_failed", reason=str(exc))
                self._is_failing = True
            else:
                self._is_failing = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Take up no further round."""
        self._stopping.set()

    async def once(self) -> None:
        """Do what is due."""
        now = self._clock()
        with database_errors():
            for row in await rows.settle_seen(self._pool, now):
                log.info("agent_update.seen", device_uuid=str(row["device_uuid"]), update_id=str(row["id"]))
            for row in await rows.give_up(self._pool, now, LATE_CODE, UNHEARD_CODE):
                log.warning("agent_update.given_up", device_uuid=str(row["device_uuid"]), code=row["code"])
        await self._teller.tell()
