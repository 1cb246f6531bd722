"""A reading's way over Kafka: what is in the topics, and what is stored, once."""

import asyncio
import json

from pipeline_builders import all_stored, publish, stored, until


async def test_a_reading_goes_all_the_way_with_the_contracts_records(pipeline, own_broker, pool, now_us):
    await pipeline.start_all()
    client = own_broker.service("publisher")
    sensor = json.dumps({"timestamp": now_us, "value": 21.5}).encode()
    assert await asyncio.to_thread(client.publish, "sensor/gw/temperature", sensor) == 0
    door = json.dumps({"timestamp": now_us, "door-sensor-1": True, "door-sensor-2": False}).encode()
    topic = "stat/f2-aabbccddee01/access-control-mode/J1/door-sensors"
    assert await asyncio.to_thread(client.publish, topic, door) == 0

    async def three():
        return await pool.fetchval("SELECT count(*) = 3 FROM decoded_data")

    await until(three)
    raw = {key: json.loads(value) for _, _, key, value in pipeline.records(pipeline.raw)}
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


async def test_many_messages_are_stored_once_each(pipeline, own_broker, pool, now_us):
    await pipeline.start_all()
    client = own_broker.service("publisher")
    await asyncio.to_thread(publish, client, range(500), base_us=now_us)

    await all_stored(pool, range(500))
    assert await stored(pool) == list(range(500))
