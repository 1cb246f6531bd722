"""The sink process: from Kafka's processed and dead-letter topics to the database.

    python -m iotistic sink --worker 0      runs until SIGTERM or SIGINT, then drains

Any number of sinks share the partitions.
"""

import functools

from iotistic.entrypoints.pipeline import StageSettings, complain, serve_stage, start
from iotistic.entrypoints.sharing import Shared, sharing
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.telemetry.catchup.reporting import LoadReporter, Meter, Reported
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.live.reporting import LiveReporter
from iotistic.telemetry.live.server import LiveFeedServer, socket_path
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.kafka.consumer import BatchConsumer, ReadOptions
from iotistic.telemetry.transports.kafka.observing import ConsumerMetrics, SinkMetrics
from iotistic.telemetry.transports.kafka.progress import GroupProgress
from iotistic.telemetry.transports.kafka.relaying import Relay
from iotistic.telemetry.transports.kafka.settings import SinkBatchSettings
from iotistic.telemetry.transports.kafka.topics import ensure_topics
from iotistic.telemetry.transports.kafka.writer import Writer
from iotistic.telemetry.transports.lanes import Lane


class SinkSettings(SinkBatchSettings, DatabaseSettings, RedisSettings, HomeSettings, StageSettings):
    """Settings of a sink."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start("sink", SinkSettings, run)


async def run(settings: SinkSettings, name: str) -> None:
    """Wire one sink and run it."""
    # The sink has a connection of its own; this is for what is noted beside.
    one = settings.model_copy(update={"database_pool_size": 1})
    pool = await create_pool(one, application_name=name, min_size=0)
    try:
        async with sharing(settings, name=name) as shared:
            await _work(settings, name, shared, Stages(pool))
    finally:
        pool.terminate()


async def _work(settings: SinkSettings, name: str, shared: Shared, stages: Stages) -> None:
    metrics = SinkMetrics()
    settings.home.run.mkdir(parents=True, exist_ok=True)
    feed = shared.feed(lambda: LiveFeedServer(socket_path(settings.home.run, name)))
    reporter = LiveReporter(feed, metrics.totals, worker=f"{shared.worker_prefix}{name}")
    sink = Sink(settings.dsn, application_name=name)
    topics = _topics(settings)
    meter = Meter(reporter if settings.lane is Lane.LIVE else None)  # what is not live is told to nobody
    writer = Writer(
        sink,
        metrics,
        meter,
        functools.partial(ensure_topics, settings, topics),
        dead_letter_topic=settings.kafka_dead_letter_topic,
    )
    reading = ReadOptions(
        settings.lane.named(settings.kafka_sink_group),
        topics,
        settings.batch_size,
        settings.flush_interval,
        settings.kafka_session_timeout_s,
    )
    consumer = BatchConsumer(settings.kafka_client, reading, ConsumerMetrics())
    progress = GroupProgress(
        settings.kafka_client, group=reading.group, topics=topics, stage=Stage.PROCESSED_TOPIC
    )
    checks = {
        "kafka": consumer.check,
        "database": lambda: complain(writer.database_away),
        **shared.checks,
    }
    reported = Reported(
        stored=lambda: meter.stamped,
        waiting=lambda: consumer.lag + (not consumer.idle),
        idle=lambda: consumer.idle,
        away=lambda: writer.database_away,
    )
    load = LoadReporter(settings.dsn, meter, reported, lane=settings.lane, process=name)
    await feed.start()
    try:
        await serve_stage(
            settings,
            name,
            checks=checks,
            work=Relay(consumer, writer, metrics).run,
            beside=(reporter.report(), load.report(), progress.report(stages)),
        )
    finally:
        await sink.close()
        await feed.close()


def _topics(settings: SinkSettings) -> tuple[str, ...]:
    processed = settings.lane.named(settings.kafka_processed_topic)
    # Both lanes write to one topic of dead letters; the live one's sinks have time for it.
    return (processed, settings.kafka_dead_letter_topic) if settings.lane is Lane.LIVE else (processed,)
