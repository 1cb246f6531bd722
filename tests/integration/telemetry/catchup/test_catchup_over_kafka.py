"""The backlog's lane over Kafka: topics and groups of its own, the same granter, the same database."""

import asyncio

import pytest
from catchup_builders import eventually, ledger, rows
from confluent_kafka.admin import AdminClient

MACS = [f"02000001{number:04x}" for number in range(10)]
EACH = 100


@pytest.fixture
def names(kafka, suffix):
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
        "KAFKA_RAW_TOPIC": f"raw{suffix}",
        "KAFKA_PROCESSED_TOPIC": f"processed{suffix}",
        "KAFKA_DEAD_LETTER_TOPIC": f"dead{suffix}",
        "KAFKA_PROCESSOR_GROUP": f"processors{suffix}",
        "KAFKA_SINK_GROUP": f"sinks{suffix}",
        "KAFKA_PARTITIONS": "2",
        "KAFKA_SESSION_TIMEOUT_S": "4",
    }


async def test_a_backlog_goes_through_kafka_beside_the_live_readings(devices, processes, names, pool, kafka):
    lane = [processes(kind, LANE="backlog", **names) for kind in ("connector", "processor", "sink")]
    beside = [processes("sink", LANE="live", **names), processes("maintenance")]
    await asyncio.gather(*(process.start() for process in (*lane, *beside)))
    fleet = await devices(MACS, EACH)
    await eventually(lambda: fleet.done)

    await eventually(lambda: rows(pool, EACH * len(MACS)))
    assert await ledger(pool) == (len(MACS), EACH * len(MACS), EACH * len(MACS))
    topics = AdminClient({"bootstrap.servers": kafka.servers}).list_topics(timeout=10).topics
    raw = names["KAFKA_RAW_TOPIC"]
    assert f"{raw}-backlog" in topics
    assert raw not in topics
