"""The ledger over Kafka: the topic where a gap stands is named, and a refused row is one letter."""

import asyncio
import json

from pipeline_builders import until

from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.ledger.standing import holders

SENSOR = "sensor/gw/temperature"


async def send(own_broker, now_us, numbers):
    client = own_broker.service("publisher")
    for number in numbers:
        body = {"timestamp": now_us + number, "value": number, "epoch": 7, "seq": number}
        assert await asyncio.to_thread(client.publish, SENSOR, json.dumps(body).encode()) == 0


async def test_a_topic_that_is_not_read_is_named_until_it_is(pipeline, own_broker, pool, now_us):
    _, processor, sink = await pipeline.start_all()
    stages = Stages(pool)

    async def held(came_by):
        return holders(await stages.clocks(), came_by)

    async def all_clear():
        clocks = await stages.clocks()
        return {clock.stage for clock in clocks} == {Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC} and not holders(
            clocks, began
        )

    began = await pool.fetchval("SELECT clock_timestamp()")
    await until(all_clear)
    sink.kill()
    await send(own_broker, now_us, range(1, 4))
    sink_died = await pool.fetchval("SELECT clock_timestamp()")
    await until(lambda: processor.metric("iotistic_kafka_records_total") == 3)

    async def only_the_sink_is_behind():
        return await held(sink_died) == [Stage.PROCESSED_TOPIC]

    await until(only_the_sink_is_behind)
    processor.kill()
    await send(own_broker, now_us, range(4, 7))
    both_died = await pool.fetchval("SELECT clock_timestamp()")

    assert await held(both_died) == [Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC]
    assert await held(began) == []
    pipeline.start("processor", 1)
    pipeline.start("sink", 1)

    async def cleared():
        return await held(both_died) == []

    await until(cleared)
    assert await pool.fetchval("SELECT count(*) FROM decoded_data") == 6


async def test_a_row_that_the_database_refuses_is_one_letter_however_often_it_is_read(
    pipeline, own_broker, pool, now_us
):
    await pipeline.start_all()
    await send(own_broker, now_us, range(1, 3))

    async def stored():
        return await pool.fetchval("SELECT count(*) FROM decoded_data") == 2

    await until(stored)
    [good, _] = [json.loads(value) for *_, value in pipeline.records(pipeline.processed)]
    refused = good | {"value": 4711.0, "timestamp": now_us + 10}
    await pool.execute("ALTER TABLE decoded_data ADD CONSTRAINT no_4711 CHECK (value <> 4711) NOT VALID")
    refused_text = {name: field for name, field in good.items() if name != "value"} | {"text": "x" * 900}
    await pool.execute(
        "ALTER TABLE telemetry_events ADD CONSTRAINT short CHECK (length(value) < 800) NOT VALID"
    )
    good |= {"timestamp": now_us + 20, "value": 5}
    records = [json.dumps(one).encode() for one in (refused, good, refused_text)]
    pipeline.produce(pipeline.processed, records)

    async def letters():
        return await pool.fetch("SELECT source, reason FROM dead_letters ORDER BY id")

    async def two_letters():
        return len(await letters()) == 2

    await until(two_letters)
    first = await letters()
    again = pipeline.start("sink", 1, KAFKA_SINK_GROUP=f"{pipeline.dead}-again")
    await until(lambda: again.ready() and again.metric("iotistic_kafka_records_total") == 5)

    assert await letters() == first
    assert {row["reason"] for row in first} == {"sink.row_refused"}
    assert {row["source"].rpartition("/")[0].rpartition("/")[0] for row in first} == {pipeline.processed}
