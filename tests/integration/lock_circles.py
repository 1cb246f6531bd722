"""Whether two who lock the same rows can wait for each other in a circle, found without luck.

Somebody holds the first row in the agreed order; whoever acts meets it and waits; then that somebody takes the last
row. If the other one had that already, they wait in a circle, and PostgreSQL says so at once.
"""

import asyncio
from contextlib import asynccontextmanager

from iotistic.kernel.postgres.pool import open_connection

_WAITS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))"
_WITHIN_S = 10


class Somebody:
    """Another transaction, over a connection of its own, which finds a circle soon."""

    def __init__(self, holding, watching):
        self.db, self._watching = holding, watching

    async def crosses(self, acting, *, first, last):
        """Take `first`, let `acting` run into it, take `last`, end; return what `acting` returns."""
        holding = self.db.transaction()
        await holding.start()
        await self.db.execute(first)
        task = asyncio.ensure_future(acting)
        try:
            async with asyncio.timeout(_WITHIN_S):
                while not await self._watching.fetchval(_WAITS, self.db.get_server_pid()):  # noqa: ASYNC110
                    await asyncio.sleep(0.002)  # no event tells of another connection
                await self.db.execute(last)
        finally:
            await holding.rollback()
            await asyncio.wait([task], timeout=_WITHIN_S)
        return task.result()

    async def is_passed_by(self, acting, *, holding):
        """Take `holding`, let `acting` run to its end meanwhile; return what it returns."""
        async with self.db.transaction(), asyncio.timeout(_WITHIN_S):
            await self.db.execute(holding)
            return await acting


@asynccontextmanager
async def another(database):
    """Give somebody else."""
    holding = await open_connection(database, application_name="test-somebody")
    watching = await open_connection(database, application_name="test-watching")
    try:
        # The others look for a circle after a second: this one is always the first to find it.
        await holding.execute("SET deadlock_timeout = '20ms'")
        yield Somebody(holding, watching)
    finally:
        await holding.close()
        await watching.close()
