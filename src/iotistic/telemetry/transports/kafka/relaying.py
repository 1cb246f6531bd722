"""What the processor and the sink have in common: read, prepare, make durable, then commit the offsets.

    consumer --> prepare --> [one batch] --> settle --> done

Preparing a batch and making the one before durable overlap. On a stop nothing more is read, what was read is
made durable, and only then the group is left.
"""

import asyncio
import time
from typing import Any, Generic, Protocol, TypeVar

import structlog

from iotistic.telemetry.transports.kafka.consumer import Batch, BatchConsumer
from iotistic.telemetry.transports.kafka.observing import StageMetrics

log = structlog.get_logger()

_DRAIN_WITHIN_S = 10.0

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
        reading = asyncio.create_task(self._consumer.run())
        workers = [asyncio.create_task(self._prepare()), asyncio.create_task(self._settle())]
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait()), reading, *workers]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.wait([reading])
            await self._drain(workers)
        finally:
            for task in waits:
                task.cancel()
            results = await asyncio.gather(*waits, return_exceptions=True)
            await self._consumer.close()
        for result in results:  # a fault of ours ends the process loudly
            if isinstance(result, Exception):
                raise result

    async def _begin(self, stop: asyncio.Event) -> None:
        beginning = asyncio.create_task(self._stage.begin())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((beginning, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not beginning.done():
            beginning.cancel()
        else:
            beginning.result()

    async def _drain(self, workers: list[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRAIN_WITHIN_S
        while not self._consumer.idle and loop.time() < deadline and not any(task.done() for task in workers):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)
        if not self._consumer.idle:
            log.warning("relay.drain_ended_early")

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
