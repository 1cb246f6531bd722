"""The processor process: from Kafka's raw topic to its processed and dead-letter topics.

    python -m iotistic processor      runs until SIGTERM or SIGINT, then drains

Any number of processors share the partitions of the raw topic.
"""

import functools

from iotistic.entrypoints.pipeline import StageSettings, complain, serve_stage, start
from iotistic.entrypoints.sharing import ForgettingDirectory, Shared, sharing
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.resolve.directory import PostgresDirectory, hear_changes
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.transports.kafka.consumer import BatchConsumer, ReadOptions
from iotistic.telemetry.transports.kafka.observing import ConsumerMetrics, StageMetrics
from iotistic.telemetry.transports.kafka.processor import Processor, ProcessorTopics
from iotistic.telemetry.transports.kafka.producer import BatchProducer
from iotistic.telemetry.transports.kafka.progress import GroupProgress
from iotistic.telemetry.transports.kafka.relaying import Relay
from iotistic.telemetry.transports.kafka.settings import ProcessorBatchSettings
from iotistic.telemetry.transports.kafka.topics import ensure_topics
from iotistic.telemetry.transports.preparing import Preparer
from iotistic.telemetry.transports.settings import ReadingSettings

_LOOKUP_CONNECTIONS = 2


class ProcessorSettings(
    ProcessorBatchSettings, ReadingSettings, DatabaseSettings, RedisSettings, StageSettings
):
    """Settings of a processor."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start("processor", ProcessorSettings, run)


async def run(settings: ProcessorSettings, name: str) -> None:
    """Wire one processor and run it."""
    pool = await create_pool(
        settings.model_copy(update={"database_pool_size": _LOOKUP_CONNECTIONS}),
        application_name=name,
        min_size=0,
    )
    try:
        async with sharing(settings, name=name) as shared:
            directory = shared.directory(PostgresDirectory(pool, settings.unknown_devices), pool)
            await _work(settings, name, shared, directory, Stages(pool))
    finally:
        pool.terminate()


async def _work(
    settings: ProcessorSettings, name: str, shared: Shared, directory: ForgettingDirectory, stages: Stages
) -> None:
    metrics = StageMetrics()
    resolver = Resolver(directory, trace=True)
    producer = BatchProducer(settings.kafka_client | settings.kafka_producer)
    lane = settings.lane
    topics = ProcessorTopics(lane.named(settings.kafka_processed_topic), settings.kafka_dead_letter_topic)
    names = (lane.named(settings.kafka_raw_topic), topics.processed, topics.dead_letters)
    processor = Processor(
        Preparer(Decoder(settings.window), resolver),
        producer,
        functools.partial(ensure_topics, settings, names),
        metrics,
        topics,
    )
    reading = _reading(settings)
    consumer = BatchConsumer(settings.kafka_client, reading, ConsumerMetrics())
    progress = GroupProgress(
        settings.kafka_client, group=reading.group, topics=reading.topics, stage=Stage.RAW_TOPIC
    )
    checks = {
        "kafka": lambda: _ask(processor, consumer),
        "database": lambda: complain(processor.database_away),
        **shared.checks,
    }

    def forget() -> None:
        directory.forget()
        resolver.forget()

    try:
        await serve_stage(
            settings,
            name,
            checks=checks,
            work=Relay(consumer, processor, metrics).run,
            beside=(hear_changes(settings.dsn, forget), progress.report(stages)),
        )
    finally:
        producer.close()


def _reading(settings: ProcessorSettings) -> ReadOptions:
    return ReadOptions(
        settings.lane.named(settings.kafka_processor_group),
        (settings.lane.named(settings.kafka_raw_topic),),
        settings.batch_size,
        settings.processing_interval,
        settings.kafka_session_timeout_s,
    )


async def _ask(processor: Processor, consumer: BatchConsumer) -> None:
    await complain(processor.kafka_away)
    await consumer.check()
