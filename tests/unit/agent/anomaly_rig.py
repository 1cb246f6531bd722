"""A watch on a real store, with a clock that the test sets and measurements that it makes."""

import asyncio
import contextlib
import random

from iotistic.agent.anomalies.config import AnomalyConfig
from iotistic.agent.anomalies.model import Measured, Source
from iotistic.agent.anomalies.watching import Around, open_watch
from iotistic.agent.store.store import Store

START = 1.8e9
STEP_S = 60.0
WITHIN_S = 10.0


class AnomalyRig:
    """`values` are fed by `feed`, one for each minute."""

    def __init__(self, folder, here=None, **around):
        self.folder, self.here = folder, here or AnomalyConfig()
        self.now, self._around = START, around
        self._chance = random.Random(1)

    def clock(self):
        return self.now

    @contextlib.asynccontextmanager
    async def running(self, *, killed=False):
        """Yield with a watch at work; `killed` lets nothing be saved at the end."""
        self.store = await Store.open(self.folder / "agent.sqlite", clock=self.clock)
        around = Around(self.clock, **{"look_every_s": 1e9, "gather_s": 0.0, **self._around})
        self.watch = await open_watch(self.store, around, self.here)
        running = asyncio.create_task(self.watch.run())
        try:
            yield self.watch
        finally:
            if killed:
                self.watch.memory._watches = None
                self.watch.journal._unwritten.clear()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self.store.close()

    def usual(self, count):
        return [round(20 + self._chance.uniform(-1, 1), 3) for _ in range(count)]

    async def feed(self, values, metric="cpu_usage", source=Source.SYSTEM, step_s=STEP_S):
        """Feed values, and return once they are taken in and what they mean is on disk."""
        measured = []
        for value in values:
            self.now += step_s
            measured.append(Measured(metric, value, self.now, "%", source))
        self.watch.feed(measured)
        await self.until(lambda: self._has_taken(metric))

    def _has_taken(self, metric):
        known = self.watch._known.get(metric)
        return known is not None and known.last_at == self.now and not self.watch.journal._urgent

    async def until(self, met):
        async with asyncio.timeout(WITHIN_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.005)

    async def learned(self, metric="cpu_usage"):
        await self.feed(self.usual(300), metric)
