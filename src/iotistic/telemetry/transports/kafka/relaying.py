"""What the processor and the sink have in common: read, prepare, make durable, then commit the offsets.

    consumer --> prepare --> [one batch] --> settle --> done

Preparing a batch and making the one before durable overlap. On a stop nothing more is read, what was read is
made durable, and only then the group is left.
"""

import asyncio
import time
from typing import Generic, Protocol, TypeVar

from iotistic.telemetry.transports.draining import Ending, run_and_drain
from iotistic.telemetry.transports.kafka.consumer import Batch, BatchConsumer
from iotistic.telemetry.transports.kafka.observing import StageMetrics

P = TypeVar("P")


class Stage(Protocol[P]):
    """What is done with records. Both are patient: they return when it is done."""

    async def begin(self) -> None:
        """Get what is needed before the first batch."""
        ...

    async def prepare(self, batch: Batch) -> P:
        """Work out what a batch makes."""
        ...

    async def settle(self, prepared: P) -> None:
        """Make it durable."""
        ...


class Relay(Generic[P]):
    """Runs one stage on what one member of a group reads."""

    def __init__(self, consumer: BatchConsumer, stage: Stage[P], metrics: StageMetrics) -> None:
        self._consumer, self._stage, self._metrics = consumer, stage, metrics
        self._prepared: asyncio.Queue[tuple[P, Batch]] = asyncio.Queue(1)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain."""
        await self._begin(stop)
        if stop.is_set():
            return
        ending = Ending(lambda: self._consumer.idle)
        try:
            await run_and_drain(stop, self._consumer.run(), [self._prepare(), self._settle()], ending)
        finally:
            await self._consumer.close()

    async def _begin(self, stop: asyncio.Event) -> None:
        beginning = asyncio.create_task(self._stage.begin())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((beginning, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not beginning.done():
            beginning.cancel()
        else:
            beginning.result()

    async def _prepare(self) -> None:
        while True:
            batch = await self._consumer.next()
            await self._prepared.put((await self._stage.prepare(batch), batch))
            del batch

    async def _settle(self) -> None:
        while True:
            prepared, batch = await self._prepared.get()
            started = time.perf_counter()
            await self._stage.settle(prepared)
            self._consumer.done(batch)
            self._metrics.count(records=len(batch.records), seconds=time.perf_counter() - started)
            del prepared, batch
