"""A reading's way over Kafka: what is in the topics, and what is stored, once."""

import asyncio
import json

from confluent_kafka.admin import NewTopic
from pipeline_builders import all_stored, publish, stored, until


async def test_a_reading_goes_all_the_way_with_the_contracts_records(pipeline, own_broker, pool, now_us):
    await pipeline.start_all()
    client = own_broker.service("publisher")
    sensor = json.dumps({"timestamp": now_us, "value": 21.5}).encode()
    assert await asyncio.to_thread(client.publish, "sensor/gw/temperature", sensor) == 0
    stamp = {"epoch": 7, "seq": 1}
    door = json.dumps({"timestamp": now_us, "door-sensor-1": True, "door-sensor-2": False} | stamp).encode()
    topic = "stat/f2-aabbccddee01/access-control-mode/J1/door-sensors"
    assert await asyncio.to_thread(client.publish, topic, door) == 0
    never = json.dumps({"timestamp": "never", "door-sensor-1": True, "epoch": 7, "seq": 2}).encode()
    assert await asyncio.to_thread(client.publish, topic, never) == 0

    async def all_three():
        rows = await pool.fetchval("SELECT count(*) FROM decoded_data")
        return rows == 3 and await pool.fetchval("SELECT count(*) FROM dead_letters") == 1

    await until(all_three)
    raw = {key: json.loads(value) for _, _, key, value in reversed(pipeline.records(pipeline.raw))}
    assert set(raw) == {b"f2-aabbccddee01", b"gw"}
    sent = raw[b"f2-aabbccddee01"]
    assert sent | {"timestamp": 0, "received_at": 0} == {
        "topic": topic,
        "topic_type": "stat",
        "device_mac": "aabbccddee01",
        "mode": "access-control-mode",
        "connector": "J1",
        "component": "door-sensors",
        "payload": door.decode(),
        "qos": 1,
        "retain": False,
        "timestamp": 0,
        "received_at": 0,
    }
    readings = [(p, key, json.loads(value)) for p, _, key, value in pipeline.records(pipeline.processed)]
    doors = [(p, key, value) for p, key, value in readings if value["component"] == "door-sensors"]
    assert len({partition for partition, _, _ in doors}) == 1
    for _, key, value in doors:
        assert key.decode() == f"{value['deviceid']}:{value['datapointid']}"
        assert value["controller_device_id"] == value["deviceid"]
        assert value["connector"] == "J1"
    assert {value["value"] for _, _, value in readings} == {21.5, 1.0, 0.0}
    assert [value.get("sequence") for _, _, value in doors] == [None, 1]
    runs = await pool.fetch(
        "SELECT DISTINCT s, n FROM ledger_log, unnest(source, first, last) AS r (s, f, l), generate_series(f, l) AS n"
    )
    assert sorted(map(tuple, runs)) == [("mac:aabbccddee01", 1), ("mac:aabbccddee01", 2)]


async def test_two_of_each_share_the_work_and_a_stop_loses_nothing(pipeline, own_broker, pool, now_us):
    await pipeline.start_all()
    others = [pipeline.start("processor", 1), pipeline.start("sink", 1)]
    for stage in others:
        await until(lambda stage=stage: stage.ready() and stage.metric("iotistic_kafka_partitions") > 1)
    client = own_broker.service("publisher")
    for device in range(20):
        numbers = range(device * 20, device * 20 + 20)
        await asyncio.to_thread(publish, client, numbers, device=f"d{device}", base_us=now_us)

    for stage in others:
        await until(lambda stage=stage: stage.metric("iotistic_kafka_records_total") > 0)
    assert [stage.stop() for stage in others] == [0, 0]
    await asyncio.to_thread(publish, client, range(400, 500), base_us=now_us)
    await all_stored(pool, range(500))
    assert await stored(pool) == list(range(500))


async def test_poison_becomes_one_dead_letter_each_and_all_of_it_read_again_changes_nothing(
    pipeline, own_broker, pool, now_us
):
    await pipeline.start_all()
    poison = b"\xff not json"
    late = json.dumps({"deviceid": 1, "datapointid": 1, "timestamp": "1804-01-01", "value": 1}).encode()
    assert await asyncio.to_thread(own_broker.service("p").publish, "sensor/gw/counter", b"nonsense") == 0
    pipeline.produce(pipeline.raw, [poison, b"{}", b"null", b"[1]"])
    pipeline.produce(pipeline.processed, [poison, b"{}", late])
    pipeline.produce(pipeline.dead, [poison])
    await asyncio.to_thread(publish, own_broker.service("q"), range(50), base_us=now_us)
    await all_stored(pool, range(50))

    async def letters():
        return sorted(row["reason"] for row in await pool.fetch("SELECT reason FROM dead_letters"))

    expected = ["decode.payload_invalid", *["record.invalid"] * 7, "record.letter_invalid"]

    async def all_letters():
        return await letters() == expected

    await until(all_letters)
    again = {"KAFKA_PROCESSOR_GROUP": f"{pipeline.raw}-again", "KAFKA_SINK_GROUP": f"{pipeline.dead}-again"}
    readers = [pipeline.start("processor", 1, **again), pipeline.start("sink", 1, **again)]
    await until(lambda: readers[0].ready() and readers[0].metric("iotistic_kafka_records_total") == 55)
    # 50 readings twice, 3 faults; 5 letters twice, 1 fault.
    await until(lambda: readers[1].ready() and readers[1].metric("iotistic_kafka_records_total") == 114)

    assert await letters() == expected
    assert await stored(pool) == list(range(50))


async def test_a_compacted_topic_is_refused_by_name(pipeline):
    topic = NewTopic(pipeline.processed, 1, 1, config={"cleanup.policy": "compact,delete"})
    admin = pipeline.admin()
    admin.create_topics([topic])[pipeline.processed].result(10)
    stages = [pipeline.start("processor"), pipeline.start("sink")]

    assert [await asyncio.to_thread(stage.process.wait, 20) for stage in stages] == [5, 5]
    assert f"the topic {pipeline.processed} is compacted" in stages[0].log
    assert f"the topic {pipeline.processed} is compacted" in stages[1].log
