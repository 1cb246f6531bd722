"""The pipeline over Kafka: each stage alone, all together, and beside what Kafka's own tools do.

    load -> Mosquitto -> connector -> raw -> processor -> processed -> sink -> PostgreSQL

Kafka's tools read and write the same topics in the same run; the direct transport and Telegraf store the same load. Alone,
a stage is measured in the middle of its work (from a tenth to the end), so that its start does not count.
"""

import math
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks import kafka_floor
from benchmarks.beside_telegraf import Comparison
from benchmarks.framework import Report, at_least
from benchmarks.installation import Child, Installation, installation
from benchmarks.kafka_cluster import KafkaCluster, java, kafka_jars
from benchmarks.load import LoadPlan, load
from benchmarks.usage import cpu_seconds

_WITHIN_S = 300.0
_POLL_S = 0.1
_WARM = 20_000
_STAGES = ("processor", "sink", "connector")
_RAW, _PROCESSED = "raw-iot-data", "processed-iot-data"


def run(quick: bool, report: Report) -> None:
    count = 150_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="iotistic-kafka-") as folder:
        kafka = KafkaCluster(Path(folder), fast=True)
        try:
            kafka.start()
            with installation(workers=0) as site:
                bench = ChainBench(site, kafka, report, count)
                bench.alone()
                bench.floors()
                bench.tools()
                bench.together()
                bench.direct(rounds=1 if quick else 4)
        finally:
            kafka.stop()


@dataclass(frozen=True)
class Measured:
    """How fast, and the CPU seconds a million that each process took."""

    rate: float
    cpu: dict[str, float]


class ChainBench:
    """The parts of the benchmark, over one installation and one Kafka."""

    def __init__(self, site: Installation, kafka: KafkaCluster, report: Report, count: int) -> None:
        self._site, self._kafka, self._report, self._count = site, kafka, report, count
        self._topics = Topics(kafka.servers)
        self._settings = {"KAFKA_BOOTSTRAP_SERVERS": kafka.servers}
        self._sent = 0
        node = kafka.nodes[0].process
        self._engines = site.pids | {"kafka": node.pid if node is not None else 0}
        endpoints = site.endpoints
        self._plan = LoadPlan(
            port=endpoints.service_port,
            username=endpoints.service_username,
            password_file=str(endpoints.service_password_file),
            connections=4,
            devices=100,
            series=1000,
            count=count,
        )

    def alone(self) -> None:
        """Connector, processor and sink, one after the other, on what the one before left."""
        connector = self._site.start_stage("connector", **self._settings)
        self._publish(_WARM)
        self._until(lambda: self._topics.records(_RAW) >= self._sent)
        before = self._topics.records(_RAW)
        found = self._measure(
            {"connector": connector.pid},
            lambda: self._topics.records(_RAW) - before,
            work=lambda: self._publish(self._count),
        )
        connector.stop()
        self._tell("connector", found)
        self._processor = self._stage("processor", lambda: self._topics.records(_PROCESSED))
        self._sink = self._stage("sink", None)

    def _stage(self, kind: str, done: Callable[[], int] | None) -> Measured:
        """Measure a stage on what waits for it."""
        child = self._site.start_stage(kind, **self._settings)
        counted = done or (lambda: stored(child))
        found = self._measure({kind: child.pid}, counted, total=self._sent)
        child.stop()
        self._tell(kind, found)
        return found

    def tools(self) -> None:
        """Kafka's own producer and consumer on records of the same size, and on the same records."""
        jars = kafka_jars()
        octets = self._topics.record_bytes(_RAW)
        consumed = self._tool(
            java(
                "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", self._kafka.servers,
                "--topic", _RAW, "--messages", str(self._sent), "--timeout", "20000", jars=jars,
            )
        )  # fmt: skip
        lines = [line.split(", ") for line in consumed.splitlines() if ", " in line]
        figures = dict(zip(lines[0], lines[1], strict=True))
        # Joining the group is no part of reading.
        rate = self._sent * 1000 / (float(figures["fetch.time.ms"]) or 1)
        self._report.add(
            "processor beside kafka-consumer-perf-test", self._processor.rate, "records/s",
            reference=rate,
        )  # fmt: skip
        produced = self._tool(
            java(
                "org.apache.kafka.tools.ProducerPerformance", "--topic", _RAW, "--throughput", "-1",
                "--num-records", str(self._count), "--record-size", str(octets), "--producer-props",
                f"bootstrap.servers={self._kafka.servers}", "acks=all", "linger.ms=10",
                "compression.type=gzip", jars=jars,
            )
        )  # fmt: skip
        self._sent += self._count  # noise in the raw topic: dead letters for a processor
        last = [line for line in produced.splitlines() if "records/sec" in line][-1]
        rate = float(last.split(" records/sec")[0].rpartition(" ")[2])
        self._report.add(
            "connector beside kafka-producer-perf-test", self._connector.rate, "records/s", reference=rate
        )

    def floors(self) -> None:
        """The library that we use, in C: reading alone, and reading and writing as much as the processor."""
        servers, count, ours = self._kafka.servers, self._sent, self._processor
        octets = self._topics.record_bytes(_PROCESSED)
        try:
            reading = kafka_floor.read(servers, _RAW, count)
            both = kafka_floor.read_and_write(servers, _RAW, count, compression="gzip", octets=octets)
        except kafka_floor.FloorMissing as exc:
            self._report.add(f"no C program to compare with: {exc.message}", math.nan, "")
            return
        add, cpu = self._report.add, ours.cpu["processor"]
        goal = at_least(0.6, of="ratio")
        add("processor beside C that reads", ours.rate, "records/s", reference=reading.rate, goal=goal)
        add("processor beside C that reads and writes", ours.rate, "records/s", reference=both.rate)
        add("CPU of processor beside C that reads", cpu, "s/million", reference=reading.cpu)
        add("CPU of processor beside C that reads and writes", cpu, "s/million", reference=both.cpu)

    def together(self) -> None:
        """All three at once, on topics of their own."""
        fresh = {
            "KAFKA_RAW_TOPIC": "raw-2", "KAFKA_PROCESSED_TOPIC": "processed-2", "KAFKA_DEAD_LETTER_TOPIC": "dead-2",
        }  # fmt: skip
        stages = {kind: self._site.start_stage(kind, **self._settings, **fresh) for kind in _STAGES}
        self._publish(_WARM)
        self._until(lambda: stored(stages["sink"]) >= _WARM)
        found = self._measure(
            {kind: child.pid for kind, child in stages.items()},
            lambda: stored(stages["sink"]) - _WARM,
            work=lambda: self._publish(self._count),
        )
        for child in stages.values():
            child.stop()
        self._report.add("whole chain", found.rate, "readings/s", goal=at_least(40_000))
        for name, seconds in found.cpu.items():
            self._report.add(f"CPU of {name}, whole chain", seconds, "s/million")
        self._chain = found

    def direct(self, *, rounds: int) -> None:
        """The direct transport and Telegraf on the same load, in turns, with fewer messages a round."""
        beside = Comparison(self._site, self._plan, self._report)
        beside.run(rounds=rounds, count=self._count // (2 if rounds == 1 else 4))
        self._report.add(
            "whole chain beside the direct transport",
            self._chain.rate,
            "readings/s",
            reference=beside.direct.rate,
        )
        stages = sum(self._chain.cpu[kind] for kind in _STAGES)
        theirs = beside.peer.cpu("telegraf")
        self._report.add(
            "CPU of connector, processor and sink beside Telegraf's", stages, "s/million",
            reference=None if math.isnan(theirs) else theirs,
        )  # fmt: skip

    def _publish(self, count: int) -> None:
        with load(replace(self._plan, count=count)) as publisher:
            publisher.wait(_WITHIN_S)
        self._sent += count

    def _measure(
        self,
        pids: dict[str, int],
        done: Callable[[], int],
        *,
        total: int | None = None,
        work: Callable[[], None] | None = None,
    ) -> Measured:
        """Measure from the beginning of `work`, or from a tenth of `total` on, until all is done."""
        wanted, begun = total or self._count, 0
        pids = self._engines | pids
        if work is None:
            self._until(lambda: done() >= wanted // 10)
            begun = done()
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        started = time.monotonic()
        if work is not None:
            work()
        self._until(lambda: done() >= wanted)
        wall_s, handled = time.monotonic() - started, wanted - begun
        cpu = {name: (cpu_seconds(pid) - before[name]) * 1e6 / handled for name, pid in pids.items()}
        return Measured(handled / wall_s, cpu)

    def _tell(self, kind: str, found: Measured) -> None:
        if kind == "connector":
            self._connector = found
        self._report.add(f"{kind} alone", found.rate, "records/s")
        for name in (kind, "kafka"):
            self._report.add(f"CPU of {name}, {kind} alone", found.cpu[name], "s/million")

    def _until(self, seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while not seen():
            if time.monotonic() > deadline:
                raise TimeoutError("the pipeline did not get there")
            time.sleep(_POLL_S)

    def _tool(self, command: list[str]) -> str:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_WITHIN_S)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._report.progress(f"{command[command.index('-cp') + 2].rpartition('.')[2]}: {used_s:.1f} CPU s")
        return ended.stdout


def stored(sink: Child) -> int:
    """Return how many readings a sink has stored, those that were there included."""
    text = httpx2.get(f"http://127.0.0.1:{sink.health_port}/metrics", timeout=10).text
    counters = ("iotistic_kafka_rows_total ", "iotistic_kafka_duplicate_rows_total ")
    return int(sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(counters)))


class Topics:
    """Looks at topics from outside."""

    def __init__(self, servers: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "benchmark"})

    def _partitions(self, topic: str) -> list[TopicPartition]:
        known = self._consumer.list_topics(topic, timeout=10).topics[topic]
        return [TopicPartition(topic, number) for number in known.partitions]

    def records(self, topic: str) -> int:
        """Return how many records a topic has; 0 while it does not exist."""
        try:
            return sum(
                self._consumer.get_watermark_offsets(one, timeout=10)[1] for one in self._partitions(topic)
            )
        except KafkaException:
            return 0

    def record_bytes(self, topic: str) -> int:
        """Return the length of one record's value."""
        place = next(
            one for one in self._partitions(topic) if self._consumer.get_watermark_offsets(one, timeout=10)[1]
        )
        place.offset = 0
        self._consumer.assign([place])
        try:
            record = self._consumer.consume(1, 10)[0]
            return len(record.value() or b"")
        finally:
            self._consumer.assign([])
