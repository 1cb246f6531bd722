"""The pipeline over Kafka as processes, and looks into its topics."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from iotistic.kernel.postgres.pool import open_connection

WITHIN_S = 80
_PORT = re.compile(r'"port": ?(\d+)')


class Stage:
    """One process of the pipeline."""

    def __init__(self, kind, number, environment, folder):
        self.kind, self.number = kind, number
        self._log = folder / f"{kind}-{number}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "iotistic", kind, "--worker", str(number)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self):
        return self._log.read_text()

    @property
    def url(self):
        """Where health and metrics are; None until the process says so."""
        for line in self.log.splitlines():
            if "stage.started" in line:
                return f"http://127.0.0.1:{json.loads(line)['port']}"
        return None

    def health(self):
        """Return the answer of /health/ready, {} while there is none."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.kind} has ended:\n{self.log[-3000:]}")
        try:
            return httpx2.get(f"{self.url}/health/ready", timeout=4, verify=False).json()
        except httpx2.HTTPError:
            return {}

    def ready(self):
        return bool(self.url) and self.health().get("ready")

    def metric(self, name):
        text = httpx2.get(f"{self.url}/metrics", timeout=4, verify=False).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s=20):
        """Ask it to end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise


class Pipeline:
    """Starts stages over one broker, one Kafka and one database."""

    def __init__(self, folder: Path, broker, kafka, database, suffix, **settings):
        self.folder, self.kafka = folder, kafka
        self.raw, self.processed, self.dead = f"raw{suffix}", f"processed{suffix}", f"dead{suffix}"
        self._running = []
        access = broker.server.access
        self.environment = {
            **os.environ,
            "IOTISTIC_HOME": str(folder / "stages"),
            "LOG_FORMAT": "json",
            "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
            "KAFKA_RAW_TOPIC": self.raw,
            "KAFKA_PROCESSED_TOPIC": self.processed,
            "KAFKA_DEAD_LETTER_TOPIC": self.dead,
            "KAFKA_PROCESSOR_GROUP": f"processors{suffix}",
            "KAFKA_SINK_GROUP": f"sinks{suffix}",
            "KAFKA_PARTITIONS": "4",
            # Long enough for a machine that does other things too: a member that is late for its session is thrown
            # out of its group again and again.
            "KAFKA_SESSION_TIMEOUT_S": "4",
            "MQTT_SERVICE_HOST": access.host,
            "MQTT_SERVICE_PORT": str(access.port),
            "MQTT_SERVICE_USERNAME": access.username,
            "MQTT_SERVICE_PASSWORD": access.password,
            "DATABASE_URL": database.url,
            "DATABASE_PASSWORD": database.password.get_secret_value(),
            **settings,
        }

    def start(self, kind, number=0, **settings):
        stage = Stage(kind, number, {**self.environment, **settings}, self.folder)
        self._running.append(stage)
        return stage

    async def start_all(self, **settings):
        """Start one of each and wait until they are ready."""
        stages = [self.start(kind, **settings) for kind in ("connector", "processor", "sink")]
        for stage in stages:
            await until(stage.ready, explain=lambda stage=stage: stage.log[-2000:])
        return stages

    def end(self):
        """Kill what runs, and say what it said last: a test that failed shows it."""
        for stage in self._running:
            stage.process.kill()
            stage.process.wait(10)
            print(f"--- {stage.kind}-{stage.number}\n{stage.log[-3000:]}")  # noqa: T201

    def records(self, topic):
        """Return (partition, offset, key, value) of all records of a topic."""
        consumer = Consumer({"bootstrap.servers": self.kafka.servers, "group.id": "looking"})
        found = []
        known = consumer.list_topics(topic, timeout=5).topics[topic].partitions
        for partition in known:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
            consumer.assign([TopicPartition(topic, partition, low)])
            seen = low
            while seen < high:
                for message in consumer.consume(high - seen, 1.0):
                    if message.error() is None:
                        found.append((partition, message.offset(), message.key(), message.value()))
                        seen = message.offset() + 1
                    else:
                        assert message.error().code() == KafkaError._PARTITION_EOF
        consumer.close()
        return found

    def payloads(self, topic):
        """Return the raw records' payloads in place of their values."""
        found = self.records(topic)
        return [(where, offset, key, json.loads(value)["payload"]) for where, offset, key, value in found]

    def produce(self, topic, values):
        """Write records as anybody may."""
        producer = Producer({"bootstrap.servers": self.kafka.servers})
        for value in values:
            producer.produce(topic, value, b"somebody")
        assert producer.flush(10) == 0

    def admin(self):
        return AdminClient({"bootstrap.servers": self.kafka.servers})


async def until(seen, within_s=WITHIN_S, explain=lambda: ""):
    """Return the first true value of `seen`, which may be awaitable; fail when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = await asyncio.to_thread(seen) if not asyncio.iscoroutinefunction(seen) else await seen()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen within {within_s} s {explain()}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def closed_table(database, table):
    """Hold everybody off a table."""
    connection = await open_connection(database, application_name="holding")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def stored(pool):
    """Return the values in the database, in order, duplicates included."""
    return [int(row["value"]) for row in await pool.fetch("SELECT value FROM decoded_data ORDER BY value")]


async def all_stored(pool, numbers, explain=lambda: ""):
    wanted = set(numbers)

    async def seen():
        return set(await stored(pool)) >= wanted

    await until(seen, explain=explain)


def publish(client, numbers, *, device="gw", base_us):
    for number in numbers:
        body = {"timestamp": base_us + number, "value": number}
        assert client.publish(f"sensor/{device}/counter", json.dumps(body).encode()) in (0, 16)
