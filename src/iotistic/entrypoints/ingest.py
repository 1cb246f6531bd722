"""The ingest process: one worker of the direct transport, from the broker to the database.

    python -m iotistic ingest --worker 0      runs until SIGTERM or SIGINT, then drains
    python -m iotistic ingest --retire 3      stores what waits for worker 3, ends its session, and exits

Workers share the stream through a shared subscription; each keeps a session of its own at the broker,
which holds what arrives while the worker is away.
"""

import argparse
import asyncio
import gc
import signal
from dataclasses import dataclass, replace

import structlog
import uvloop
from fastapi import FastAPI

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.sharing import ForgettingDirectory, Shared, sharing
from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.process import stand_back
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.metrics import MetricsSettings
from iotistic.kernel.web.server import serve
from iotistic.telemetry.catchup.reporting import LoadReporter, Meter, Reported
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.live.reporting import LiveReporter
from iotistic.telemetry.live.server import LiveFeedServer, socket_path
from iotistic.telemetry.resolve.directory import PostgresDirectory, hear_changes
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.buffer import BufferLimits
from iotistic.telemetry.transports.direct import DirectOptions, DirectTransport
from iotistic.telemetry.transports.lanes import Lane, LaneSettings
from iotistic.telemetry.transports.observing import IngestMetrics
from iotistic.telemetry.transports.settings import SHARE_GROUP, IngestSettings

log = structlog.get_logger()

_RETIRED_AFTER_SILENCE_S = 2.0
_LOOKUP_CONNECTIONS = 2
# Batches make many short-lived containers and no cycles; scanning all of them often costs a tenth.
_GC_THRESHOLD = (100_000, 50, 100)


class WorkerSettings(
    IngestSettings,
    LaneSettings,
    MqttSettings,
    DatabaseSettings,
    RedisSettings,
    MetricsSettings,
    HomeSettings,
    LogSettings,
):
    """Settings of an ingest worker."""


@dataclass(frozen=True)
class Role:
    """Which worker this is, and whether it is here to end."""

    worker: int
    retire: bool
    lane: Lane = Lane.LIVE

    @property
    def name(self) -> str:
        """The worker's name, which is also its client id at the broker."""
        return self.lane.worker("ingest", self.worker)


def main() -> None:
    """Run one worker until it is told to stop, or until it has retired."""
    role = _role()
    settings = load_settings(WorkerSettings)
    role = replace(role, lane=settings.lane)
    if role.lane is Lane.BACKLOG:
        stand_back()
    configure_logging(settings, process=role.name)
    gc.set_threshold(*_GC_THRESHOLD)
    uvloop.run(run(settings, role))


def _role() -> Role:
    parser = argparse.ArgumentParser(prog="iotistic ingest", description="One worker of the direct transport")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--worker", type=int, default=0, metavar="N", help="number of this worker, from 0")
    which.add_argument("--retire", type=int, metavar="N", help="empty and end the session of worker N")
    given = parser.parse_args()
    number = given.worker if given.retire is None else given.retire
    if number < 0:
        raise Invalid("a worker's number is 0 or more")
    return Role(number, given.retire is not None)


async def run(settings: WorkerSettings, role: Role) -> None:
    """Wire one worker and run it."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pool = await create_pool(
        settings.model_copy(update={"database_pool_size": _LOOKUP_CONNECTIONS}),
        application_name=role.name,
        min_size=0,
    )
    try:
        async with sharing(settings, name=role.name) as shared:
            directory = shared.directory(PostgresDirectory(pool, settings.unknown_devices), pool)
            await _work(settings, role, shared, directory, stop)
    finally:
        pool.terminate()


async def _work(
    settings: WorkerSettings, role: Role, shared: Shared, directory: ForgettingDirectory, stop: asyncio.Event
) -> None:
    """Receive and store until told to stop, tell those who watch, and hear of changes."""
    metrics = IngestMetrics()
    resolver = Resolver(directory)
    feed = shared.feed(
        lambda: LiveFeedServer(socket_path(settings.home.run, role.lane.named(str(role.worker))))
    )
    reporter = LiveReporter(feed, metrics.totals, worker=f"{shared.worker_prefix}{role.name}")
    meter = Meter(reporter if role.lane is Lane.LIVE else None)  # what is not live is told to nobody
    transport = DirectTransport(
        BulkSubscriber(_subscription(settings, role)),
        Decoder(settings.window),
        resolver,
        Sink(settings.dsn, application_name=f"{role.name}-sink"),
        metrics,
        meter,
        DirectOptions(BufferLimits(settings.ingest_buffer_mib << 20, settings.ingest_batch_messages)),
    )
    app = _app(settings, shared, transport)

    def forget() -> None:
        directory.forget()
        resolver.forget()

    settings.home.run.mkdir(parents=True, exist_ok=True)
    await feed.start()
    beside = [
        asyncio.create_task(hear_changes(settings.dsn, forget)),
        asyncio.create_task(reporter.report()),
        asyncio.create_task(_load(settings, role, transport, meter, metrics).report()),
    ]
    try:
        async with await serve(app, host=settings.metrics_host, port=settings.metrics_port) as server:
            log.info("ingest.started", host=settings.metrics_host, port=server.port, retire=role.retire)
            for task in beside:  # without them the worker would go on deaf to changes, or unseen
                task.add_done_callback(lambda _task: stop.set())
            await transport.run(stop, retire=_RETIRED_AFTER_SILENCE_S if role.retire else None)
        _raise_faults(beside)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await feed.close()
    log.info("ingest.stopped", messages=metrics.totals.messages, rows=metrics.totals.rows)


def _subscription(settings: WorkerSettings, role: Role) -> BulkOptions:
    host, port = settings.mqtt_address
    alone = settings.ingest_workers == 1 and role.worker == 0
    wanted, ended = role.lane.subscriptions(SHARE_GROUP, alone=alone)
    return BulkOptions(
        host=host,
        port=port,
        client_id=role.name,
        filters=() if role.retire else wanted,
        ended_filters=(*ended, *wanted) if role.retire else ended,
        topic_prefix=role.lane.prefix,
        username=settings.mqtt_service_username,
        password=settings.mqtt_service_password.get_secret_value(),
        tls=settings.mqtt_tls(),
        receive_maximum=settings.ingest_receive_maximum,
        session_expiry_s=settings.ingest_session_days * 86_400,
        linger_s=settings.ingest_linger_ms / 1000,
    )


def _app(settings: WorkerSettings, shared: Shared, transport: DirectTransport) -> FastAPI:
    return create_app(
        title="Iotistic ingest",
        version=catalogue.version(),
        description="Health and figures of an ingest worker.",
        checks={
            "broker": lambda: _raise(transport.broker_away),
            "database": lambda: _raise(transport.database_away),
            **shared.checks,
        },
        metrics_access=settings.metrics_access,
    )


def _load(
    settings: WorkerSettings, role: Role, transport: DirectTransport, meter: Meter, metrics: IngestMetrics
) -> LoadReporter:
    reported = Reported(
        stored=lambda: metrics.totals.messages,
        waiting=lambda: transport.waiting,
        idle=lambda: transport.idle,
        away=lambda: transport.database_away or transport.broker_away,
    )
    return LoadReporter(settings.dsn, meter, reported, lane=role.lane, process=role.name)


def _raise_faults(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _raise(error: IotisticError | None) -> None:
    if error is not None:
        raise error
