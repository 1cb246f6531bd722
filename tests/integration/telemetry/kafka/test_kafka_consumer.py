"""One member of a group against a real Kafka, at the moments that are hard to hit from outside."""

import asyncio
import signal

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pipeline_builders import until
from prometheus_client import CollectorRegistry

from iotistic.telemetry.transports.kafka.consumer import BatchConsumer, ReadOptions
from iotistic.telemetry.transports.kafka.observing import ConsumerMetrics

RECORDS = 20


@pytest.fixture
def topic(kafka, suffix):
    name = f"consumed{suffix}"
    where = {"bootstrap.servers": kafka.servers}
    admin = AdminClient(where)
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
    producer = Producer(where)
    for number in range(RECORDS):
        producer.produce(name, str(number))
    assert producer.flush(10) == 0
    return name


async def test_what_was_lost_while_it_was_paused_is_read_on_when_it_comes_back(kafka, topic):
    """A stage that is held up pauses; then the group loses the member, and meanwhile the stage goes on."""
    registry = CollectorRegistry()
    options = ReadOptions(f"{topic}-group", (topic,), batch_size=5, interval_s=0.05, session_s=1.5)
    consumer = BatchConsumer({"bootstrap.servers": kafka.servers}, options, ConsumerMetrics(registry))
    running = asyncio.create_task(consumer.run())
    await until(lambda: registry.get_sample_value("iotistic_kafka_pauses_total") == 1)
    kafka.nodes[0].process.send_signal(signal.SIGSTOP)
    try:
        await until(lambda: registry.get_sample_value("iotistic_kafka_partitions") == 0)
        for _ in range(2):
            await consumer.next()
    finally:
        kafka.nodes[0].process.send_signal(signal.SIGCONT)

    seen = 0
    async with asyncio.timeout(30):
        while seen < RECORDS:
            seen = max((await consumer.next()).ends.values())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await consumer.close()
