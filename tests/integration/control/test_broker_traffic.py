"""Samples of a real Mosquitto's traffic, and what the routes say of them."""

import asyncio
import contextlib
import json
import threading
import time
from datetime import timedelta

import pytest
from broker_desk import running_desk

from iotistic.control.broker.observing import BrokerObserver
from iotistic.control.broker.sampling import Sample
from iotistic.control.broker.service import utc_now
from iotistic.control.broker.settings import BrokerSampleSettings
from iotistic.control.broker.traffic import TrafficStore
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.process import pick_port


@pytest.fixture
async def desk(pool):
    async with running_desk(pool) as running:
        yield running


@pytest.fixture
def mqtt(broker):
    access = broker.server.access
    return MqttSettings(
        mqtt_service_host=access.host, mqtt_service_port=access.port, mqtt_service_password=access.password
    )


def observer(pool, mqtt, *, topics=5000, **settings):
    given = BrokerSampleSettings(**({"broker_sample_s": 1.5, "broker_sample_every_s": 3.0} | settings))
    return BrokerObserver(pool, TrafficStore(pool, most_topics=topics), mqtt, given)


@contextlib.asynccontextmanager
async def publishing(broker, **payloads):
    """Publish to topics again and again, from a thread of its own."""
    stopping, begun = False, threading.Event()

    def publish():
        client = broker.service("publisher")
        while not stopping:
            for topic, payload in payloads.items():
                client.publish(topic.replace("_", "/"), payload)
            begun.set()

    task = asyncio.create_task(asyncio.to_thread(publish))
    assert await asyncio.to_thread(begun.wait, 20)
    try:
        yield
    finally:
        stopping = True
        await task


def figures_published(broker, within_s=30):
    """Wait until the broker has told how many are connected."""
    deadline = time.monotonic() + within_s
    with contextlib.closing(broker.service("waiting")) as client:
        client.subscribe("$SYS/broker/clients/connected")
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return client.receive()
    raise AssertionError("the broker tells no figures")


def sample(**payloads):
    made = Sample()
    for topic, payload in payloads.items():
        made.add(topic.replace("_", "/"), payload, retained=False)
    return made


async def test_a_sample_sees_topics_schemas_and_the_broker_s_figures(desk, broker, mqtt):
    # A broker that has just started publishes its figures only after a while.
    await asyncio.to_thread(figures_published, broker)
    async with publishing(broker, plant_a_temp=b'{"value": 1.5}', plant_b=b"on"):
        assert await observer(desk.pool, mqtt).look()

    page = (await desk.ask("GET", "/mqtt/topics", params={"prefix": "plant"})).json()
    found = {one["topic"]: one for one in page["topics"]}
    assert sorted(found) == ["plant/a/temp", "plant/b"]
    assert found["plant/b"]["last_payload_bytes"] == 2
    assert found["plant/b"]["bytes"] == pytest.approx(2 * found["plant/b"]["messages"])
    schema = (await desk.ask("GET", "/mqtt/topics/schema", params={"topic": "plant/a/temp"})).json()
    assert schema["json_schema"]["properties"] == {"value": {"type": ["number"]}}
    health = (await desk.ask("GET", "/mqtt/health")).json()
    assert health["status"] == "ok"
    assert health["connected_clients"] is not None
    assert health["version"].startswith("mosquitto")
    assert (await desk.ask("GET", "/mqtt/metrics")).json()[0]["figures"]["uptime"] >= 0


async def test_retained_messages_are_no_traffic(desk, broker, mqtt):
    broker.service("cloud").publish("kept/for/ever", b"x", retain=True)
    await observer(desk.pool, mqtt, broker_sample_s=0.5).look()

    assert (await desk.ask("GET", "/mqtt/topics", params={"prefix": "kept"})).json()["topics"] == []


async def test_a_flood_ends_a_sample_early_and_is_scaled_up(desk, broker, mqtt):
    async with publishing(broker, flood=b"x"):
        async with asyncio.timeout(10):
            await observer(desk.pool, mqtt, broker_sample_s=9.0, broker_sample_messages=50).look()

    figures = (await desk.ask("GET", "/mqtt/topics", params={"prefix": "flood"})).json()["topics"][0]
    assert figures["messages"] >= 50


async def test_two_processes_do_not_sample_at_once(desk, mqtt):
    both = await asyncio.gather(*(observer(desk.pool, mqtt, broker_sample_s=0.5).look() for _ in range(2)))

    assert sorted(both) == [False, True]


async def test_a_broker_that_is_away_is_asked_again_until_it_is_told_to_stop(desk):
    nowhere = MqttSettings(mqtt_service_port=pick_port(0))
    watching = observer(desk.pool, nowhere, broker_sample_every_s=1.0)
    running = asyncio.create_task(watching.run())
    await asyncio.sleep(0)
    watching.stop()

    async with asyncio.timeout(20):
        await running
    assert (await desk.ask("GET", "/mqtt/health")).json()["status"] == "stale"


async def test_figures_add_up_and_schemas_grow(desk):
    store, now = desk.desk.traffic, utc_now()
    await store.add(sample(a=b'{"v": 1}'), scale=10, now=now)
    await store.add(sample(a=b'{"v": null, "w": true}'), scale=10, now=now + timedelta(seconds=1))
    await store.add(sample(a=b"no json"), scale=10, now=now + timedelta(seconds=2))

    [topic] = await store.topics(prefix="", after="", limit=10)
    assert (topic.messages, topic.samples, topic.last_payload_bytes) == (30, 3, 7)
    found = await store.schema("a")
    assert found.schema["properties"]["v"]["type"] == ["integer", "null"]
    assert found.schema["required"] == ["v"]
    assert found.changed_at == now + timedelta(seconds=1)


async def test_random_topics_do_not_fill_the_database(desk):
    store = TrafficStore(desk.pool, most_topics=10)
    await store.add(sample(**{f"t-{number}": b"x" for number in range(8)}), scale=1, now=utc_now())
    await store.add(
        sample(**{f"u-{number}": b"x" for number in range(8)}, **{"t-0": b"x"}), scale=1, now=utc_now()
    )

    assert len(await store.topics(prefix="", after="", limit=100)) == 10
    assert (await store.topics(prefix="t-0", after="", limit=1))[0].messages == 2


async def test_what_is_old_is_forgotten(desk):
    store, now = desk.desk.traffic, utc_now()
    made = sample(a=b"x")
    made.add("$SYS/broker/uptime", b"1 seconds", retained=True)
    await store.add(made, scale=1, now=now - timedelta(days=40))
    await store.forget(topics_before=now - timedelta(days=30), stats_before=now - timedelta(days=7))

    assert await store.topics(prefix="", after="", limit=10) == []
    assert await store.figures(since=None, limit=10) == []


async def test_topics_are_a_tree_of_their_levels(desk):
    await desk.desk.traffic.add(sample(a_b_c=b"xx", a_d=b"x", z=b"x"), scale=1, now=utc_now())
    tree = (await desk.ask("GET", "/mqtt/topics/tree", params={"depth": 2})).json()

    assert (tree["topics"], tree["messages"], [one["name"] for one in tree["children"]]) == (3, 3, ["a", "z"])
    a = tree["children"][0]
    assert (a["topic"], a["topics"], a["bytes"]) == ("a", 2, 3)
    assert [one["topic"] for one in a["children"]] == ["a/b", "a/d"]
    assert a["children"][0]["children"] == []


async def test_topics_are_paged_by_name(desk):
    await desk.desk.traffic.add(sample(**{f"t-{n}": b"x" for n in range(5)}), scale=1, now=utc_now())
    seen, after = [], ""
    while after is not None:
        page = (await desk.ask("GET", "/mqtt/topics", params={"limit": 2, "after": after})).json()
        seen += [one["topic"] for one in page["topics"]]
        after = page["next"]

    assert seen == [f"t-{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("a", b"\xff\xfe"),
        ("a", b'{"\\u0000": "\\u0000"}'),
        ("a", b'{"\\ud800": 1}'),
        ("a", b"[" * 60_000),
        ("a", json.dumps({str(n): n for n in range(1000)}).encode()),
        ("a", b"1e999"),
        ("\ufffd", b"x"),
        ("a'; DROP TABLE mqtt_topics; --", b"x"),
        ("$SYS/broker/odd", b"\x00nan"),
        ("$SYS/broker/nan", b"nan"),
    ],
)
async def test_what_anybody_may_publish_breaks_nothing(desk, topic, payload):
    made = Sample()
    made.add(topic, payload, retained=False)
    await desk.desk.traffic.add(made, scale=1, now=utc_now())

    assert (await desk.ask("GET", "/mqtt/topics")).status_code == 200
    assert (await desk.ask("GET", "/mqtt/metrics")).status_code == 200
    assert (await desk.ask("GET", "/mqtt/topics/schema", params={"topic": topic})).status_code in {200, 404}


async def test_a_topic_that_was_never_seen_is_unknown(desk):
    answer = await desk.ask("GET", "/mqtt/topics/schema", params={"topic": "never"})

    assert (answer.status_code, answer.json()["code"]) == (404, "mqtt.topic_unknown")
