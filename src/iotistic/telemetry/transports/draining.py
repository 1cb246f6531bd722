"""How every stage runs and ends: a source feeds workers until told to stop; then what was taken in is finished.

source --> workers        until `stop`, or until one of them ends
workers                   until nothing is held any more, or the time for it is over
leave                     only then, and nothing of it when the process is killed
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

log = structlog.get_logger()

DRAIN_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.01

Work = Coroutine[Any, Any, None]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stage ends: `idle` says that nothing is held, `leave` says goodbye to where work came from."""

    idle: Callable[[], bool]
    leave: Callable[[], Awaitable[None]] | None = None
    within_s: float = DRAIN_WITHIN_S


async def run_and_drain(
    stop: asyncio.Event, source: Work, workers: Sequence[Work], ending: Ending, *, until: Work | None = None
) -> None:
    """Run until `stop` is set or `until` returns, then drain.

    Raises what a source or worker raised: a fault of ours ends the process loudly.
    """
    feeding = asyncio.create_task(source)
    working = [asyncio.create_task(worker) for worker in workers]
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait()), feeding, *working]
    if until is not None:
        tasks.append(asyncio.create_task(until))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        feeding.cancel()
        await asyncio.wait([feeding])  # until it has let go of the socket, which leaving reads from
        await _drain(working, ending)
        if ending.leave is not None:
            await ending.leave()
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _drain(workers: list[asyncio.Task[None]], ending: Ending) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ending.within_s
    while not ending.idle() and loop.time() < deadline and not any(task.done() for task in workers):  # noqa: ASYNC110  ends at the deadline
        await asyncio.sleep(_LOOK_EVERY_S)
    if not ending.idle():
        log.warning("stage.drain_ended_early", within_s=ending.within_s)
