"""Real processes around one Redis: two API processes tell of the same reading; without Redis it is stored all the same."""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest

from iotistic.kernel.process import die_with_parent, pick_port

TOKEN = "iot_a-token-for-tests-only"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
TOPIC = "sensor/gw-1/temperature"


@contextmanager
def process(word, folder, environment):
    """Run one process of the product; give the port of its health."""
    port = pick_port(0)
    folder.mkdir()
    settings = environment | {
        "IOTISTIC_HOME": str(folder),
        "METRICS_PORT": str(port),
        "API_PORT": str(port),
        "API_TOKEN": TOKEN,
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "iotistic", word],
            env={"PATH": os.environ["PATH"]} | settings,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  no thread of ours holds a lock
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(20)


async def answers(client, url, *, containing="", within_s=30):
    """Return the answer of /health/ready once it is 200 and says that."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            answer = await client.get(f"{url}/health/ready")
            if answer.status_code == 200 and containing in answer.text:
                return answer.json()
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError(f"{url} did not say {containing!r} in time")


@pytest.fixture
def environment(database, broker, redis):
    return {
        **database.environment(),
        "MQTT_SERVICE_PORT": str(broker.server.endpoints.service_port),
        "MQTT_SERVICE_USERNAME": broker.server.access.username,
        "MQTT_SERVICE_PASSWORD": broker.server.access.password,
        "REDIS_URL": redis.url,
        "REDIS_PASSWORD": redis.settings().redis_password.get_secret_value(),
    }


async def first_reading(client, url, connected):
    async with client.stream("GET", f"{url}/api/v1/telemetry/stream", headers=AUTH) as stream:
        async for line in stream.aiter_lines():
            if line == ": connected":
                connected.set()
            if line.startswith("data:"):
                return json.loads(line.removeprefix("data:"))["value"]
    raise AssertionError("the stream ended")


async def test_every_api_process_tells_of_a_reading_and_without_redis_it_is_stored(
    environment, broker, redis, pool, tmp_path
):
    with (
        process("ingest", tmp_path / "ingest", environment) as ingest,
        process("api", tmp_path / "one", environment) as one,
        process("api", tmp_path / "two", environment) as two,
    ):
        async with httpx2.AsyncClient(timeout=30) as client:
            for url in (ingest, one, two):
                assert (await answers(client, url, containing='"redis":"ok"'))["ready"]
            connected = [asyncio.Event(), asyncio.Event()]
            watching = [
                asyncio.create_task(first_reading(client, url, event))
                for url, event in zip((one, two), connected, strict=True)
            ]
            for event in connected:
                await asyncio.wait_for(event.wait(), 20)
            device = broker.service("device")
            device.publish(TOPIC, b'{"value": 21.5}')
            assert await asyncio.wait_for(asyncio.gather(*watching), 20) == [21.5, 21.5]

            redis.kill()
            health = await answers(client, ingest, containing="degraded: ")
            device.publish(TOPIC, b'{"value": 22.5}')
            deadline = time.monotonic() + 20
            while await pool.fetchval("SELECT count(*) FROM decoded_data") < 2:
                assert time.monotonic() < deadline, "the second reading was not stored"
                await asyncio.sleep(0.02)

    assert health["ready"]
    assert health["checks"]["database"] == "ok"
