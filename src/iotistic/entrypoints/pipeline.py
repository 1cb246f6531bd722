"""What the three processes of the pipeline over Kafka have in common: signals, health, metrics."""

import argparse
import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import structlog
import uvloop

from iotistic.entrypoints import catalogue
from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.process import stand_back
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.health import Check
from iotistic.kernel.web.metrics import MetricsSettings
from iotistic.kernel.web.server import serve
from iotistic.telemetry.transports.lanes import Lane, LaneSettings

log = structlog.get_logger()

# Batches make many short-lived containers and no cycles; scanning all of them often costs a tenth.
_GC_THRESHOLD = (100_000, 50, 100)


class StageSettings(LaneSettings, MetricsSettings, LogSettings):
    """Settings that every stage has."""


S = TypeVar("S", bound=StageSettings)


def start(kind: str, settings_cls: type[S], run: Callable[[S, str], Coroutine[Any, Any, None]]) -> None:
    """Run a stage until it is told to stop, under the name of its kind, its lane and its number."""
    parser = argparse.ArgumentParser(
        prog=f"iotistic {kind}", description=f"One {kind} of the pipeline over Kafka"
    )
    parser.add_argument("--worker", type=int, default=0, metavar="N", help=f"number of this {kind}, from 0")
    number = parser.parse_args().worker
    if number < 0:
        raise Invalid("a worker's number is 0 or more")
    settings = load_settings(settings_cls)
    name = settings.lane.worker(kind, number)
    if settings.lane is Lane.BACKLOG:
        stand_back()
    configure_logging(settings, process=name)
    gc.set_threshold(*_GC_THRESHOLD)
    uvloop.run(run(settings, name))


async def serve_stage(
    settings: StageSettings,
    name: str,
    *,
    checks: Mapping[str, Check],
    work: Callable[[asyncio.Event], Awaitable[None]],
    beside: Sequence[Coroutine[Any, Any, None]] = (),
) -> None:
    """Serve health and metrics while `work` runs; it gets an event that is set when it is to drain and end.

    What runs `beside` never ends by itself; when it fails, the process does.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = create_app(
        title=f"Iotistic {name}",
        version=catalogue.version(),
        description="Health and figures of a stage of the pipeline.",
        checks=dict(checks),
        metrics_access=settings.metrics_access,
    )
    tasks = [asyncio.create_task(coroutine) for coroutine in beside]
    try:
        async with await serve(app, host=settings.metrics_host, port=settings.metrics_port) as server:
            log.info("stage.started", host=settings.metrics_host, port=server.port)
            for task in tasks:
                task.add_done_callback(lambda _task: stop.set())
            await work(stop)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    log.info("stage.stopped")


async def complain(error: IotisticError | None) -> None:
    """Raise `error` if there is one: a health check."""
    if error is not None:
        raise error
